"""One training loop: recipes bring the model, the data and the objective (`docs/training.md`)."""
