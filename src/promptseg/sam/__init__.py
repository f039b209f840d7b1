"""SAM-like models: a point, a box or a coarse mask in, the mask of one object out. Arrays in and out, never tensors."""
