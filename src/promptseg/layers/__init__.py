"""Blocks that models are put together from; they know tensors, not configurations."""
