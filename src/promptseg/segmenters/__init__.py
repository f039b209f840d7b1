"""Segmenters made of other parts: a masker that sharpens, a detector that proposes, tiles of a large picture."""
