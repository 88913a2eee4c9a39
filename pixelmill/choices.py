"""The words that people choose from in settings and flags, and that matrices record; each is spelled here alone."""

from __future__ import annotations

from typing import Literal

Decode = Literal["fast", "reference"]
Precision = Literal["float32", "bfloat16", "float16"]
AskedPrecision = Literal["auto", Precision]
VectorDtype = Literal["float32", "float16"]
Background = Literal["white", "none"]
FanOut = Literal["inline", "workers", "dask", "ray"]
MissingDevice = Literal["fail", "cpu"]
