"""Finding, reading, decoding and preprocessing images."""
