"""The default model: pixel-text network, detections, SAM."""
