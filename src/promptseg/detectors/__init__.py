"""Open-vocabulary detectors: a picture and phrases in, boxes with the phrase they belong to out."""
