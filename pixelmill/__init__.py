"""Pixelmill mills growing image collections into embedding matrices, every night."""

__version__ = "0.1.0"
