"""Readers of annotated pictures, and the phrases one may ask of them.

Everything here yields raw values: picture paths or bytes, phrases as text, masks as COCO run-length codes.
Pixels are decoded by whoever needs them.
"""
