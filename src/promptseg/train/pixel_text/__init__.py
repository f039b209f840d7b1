"""Open-vocabulary training: every pixel of a crop is compared with every name of a vocabulary at once."""
