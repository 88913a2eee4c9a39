"""What workers did in a run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt


class WorkerModel(BaseModel):
    """What a worker did with one model; `seconds` are those that the model was busy."""

    model_config = ConfigDict(frozen=True)

    device: str
    images: NonNegativeInt
    seconds: FiniteFloat


class WorkerReport(BaseModel):
    """What a worker did: images read, seconds at work, seconds that reading and decoding took (all its threads
    together), and its models."""

    model_config = ConfigDict(frozen=True)

    images: NonNegativeInt
    seconds: FiniteFloat
    reading_seconds: FiniteFloat
    models: dict[str, WorkerModel]
