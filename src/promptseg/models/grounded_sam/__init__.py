"""A detector and SAM: boxes by words, a mask in each."""
