"""CLIPSeg and its relatives: a small decoder on a frozen transformer, conditioned on a text or on an image."""
