"""The command line: results on stdout, messages on stderr; each command wraps one Python call."""
