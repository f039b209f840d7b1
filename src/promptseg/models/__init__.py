"""Architectures, the table that names them, and their checkpoints."""
