"""Open-vocabulary detectors: an image and phrases in, boxes with the phrase they belong to out."""
