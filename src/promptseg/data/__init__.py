"""Readers of annotated images, and the phrases one may ask of them.

Everything here yields raw values: image paths or bytes, phrases as text, masks as COCO run-length codes.
Pixels are decoded by whoever needs them.
"""
