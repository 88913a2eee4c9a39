"""From words, pictures and rows to the nearest rows of a store."""
