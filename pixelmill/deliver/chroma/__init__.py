"""Chroma: collections by its REST, served by their name."""
