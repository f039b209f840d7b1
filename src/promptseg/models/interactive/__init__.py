"""SAM alone: points, boxes and masks."""
