"""How the shipped checkpoint was made and measured: its data sets, splits and fits. No part of the package."""
