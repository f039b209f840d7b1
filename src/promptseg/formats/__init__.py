"""Writers and readers of data sets in common file formats."""
