"""What a GPU makes of Pixelmill; `python -m benchmarks.gpu`."""
