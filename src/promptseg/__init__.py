"""Prompt-guided image segmentation: point at something with words and get its mask."""
