"""A detector and SAM: boxes of phrases, a mask in each."""
