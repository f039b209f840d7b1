"""CLIPSeg and its variants: a small decoder on a frozen transformer, conditioned on a text or an image."""
