"""The backends: what each offers, and which there are. Each library is imported when a model of it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pixelmill.models.base import BackendName, EmbeddingModel, ModelSpec

if TYPE_CHECKING:
    from pixelmill.models.weights import CachedFile


class Backend(Protocol):
    """A module of `pixelmill.models` that makes models of one upstream library."""

    def load(self, spec: ModelSpec, file: CachedFile) -> EmbeddingModel:
        """The model of `spec` with the weights in a verified `file`, on the CPU, in float32.

        Raises WeightsRefused if they are not its weights.
        """

    def instantiate(self, spec: ModelSpec) -> EmbeddingModel:
        """The architecture of `spec` on `meta`, without weights."""


class Library(Backend, Protocol):
    """A backend whose upstream library knows more models than the catalog."""

    def resolve(self, name: str) -> ModelSpec:
        """The spec of `<backend>:…`, looked up in the library. Raises UnknownModel, which names the nearest names."""


_registered: dict[str, Backend] = {}
LIBRARIES: tuple[BackendName, ...] = ("open_clip", "timm", "torchvision")


def library(name: str) -> Library:
    """One of `LIBRARIES`."""
    if name == "open_clip":
        from pixelmill.models import open_clip

        return open_clip
    if name == "timm":
        from pixelmill.models import timm

        return timm
    from pixelmill.models import torchvision

    return torchvision


def register(name: str, backend: Backend) -> None:
    """Offer a backend that is not of this package: it makes the models of specs that name it, in this process."""
    _registered[name] = backend


def backend(name: str) -> Backend:
    """The backend called `name`."""
    if name in _registered:
        return _registered[name]
    if name == "openai_clip":
        from pixelmill.models import openai_clip

        return openai_clip
    return library(name)
