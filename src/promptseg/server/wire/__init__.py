"""What goes over the wire of `/v1`: requests, answers, and the conversions to and from the library's own types."""
