"""What all routes share: served models, stored images, one gate for each device, and the turn of a request at it."""
