"""The command line: data on stdout, talk on stderr; everything it does is one Python call."""
