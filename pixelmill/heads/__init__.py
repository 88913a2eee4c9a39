"""Heads: labels and scores of pictures, and by what they are made, from stored vectors. No image is read."""
