"""Uni-OVSeg: masks of points and boxes, named by CLIP."""
