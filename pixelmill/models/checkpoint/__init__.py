"""Files of weights: what is in them, and whether it may be loaded."""
