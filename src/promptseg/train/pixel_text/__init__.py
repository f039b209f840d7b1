"""Training of the dense head: every pixel of a crop against every name of a vocabulary at once."""
