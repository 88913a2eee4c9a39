"""From the pixels of many images to the vectors of many models."""
