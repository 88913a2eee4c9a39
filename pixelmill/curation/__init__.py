"""What of a collection is worth keeping: look-alikes over all rows, as lists and columns. Nothing is ever deleted."""
