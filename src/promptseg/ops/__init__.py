"""Pure functions on arrays and files; each module is one idea."""
