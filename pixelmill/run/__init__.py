"""One run: what is there, what is missing, who does it, what they did."""
