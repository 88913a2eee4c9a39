"""Qdrant: collections and an alias, by its REST."""
