"""Readers of annotated images and of the phrases in their annotations.

All readers yield raw values: image paths or bytes, phrases as text, masks as COCO run-length codes. The caller decodes
the pixels.
"""
