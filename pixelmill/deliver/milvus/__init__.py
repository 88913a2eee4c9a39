"""Milvus, and Milvus Lite: collections and an alias."""
