"""Where images lie: found, listed, read."""
