"""Image and text towers: pretrained encoders behind one small interface each."""
