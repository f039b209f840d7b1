"""Promptable maskers: a point, a box or a coarse mask in, the mask of one object out."""
