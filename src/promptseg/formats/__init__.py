"""Data sets in the file formats that people use: writers, and readers back."""
