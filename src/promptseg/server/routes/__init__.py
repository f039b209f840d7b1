"""The routers of a server, one file for each group of routes; each is made for one `Service`."""
