"""Which model is best on one's own pictures: by their labels, from stored vectors. `evaluate.py` puts it together."""
