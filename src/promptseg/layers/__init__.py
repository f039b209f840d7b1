"""Building blocks of models; they depend on tensors and plain arguments, not on configs."""
