"""What all routes share: served models, stored pictures, one gate for each device, and the turn of a request at it."""
