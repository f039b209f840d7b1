"""Training of Uni-OVSeg: masks without names, then texts without masks."""
