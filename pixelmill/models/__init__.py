"""Model backends and the weights cache."""
