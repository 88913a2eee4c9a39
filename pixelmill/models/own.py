"""Models of one's own: an upstream architecture with one's own checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

from pixelmill.errors import SettingsError
from pixelmill.models.base import BackendName, ModelSpec, WeightsSource
from pixelmill.models.checkpoint.sidecars import READERS
from pixelmill.models.drafts import MODEL_CONFIG, canonical, measured_as
from pixelmill.models.text_files import text_files

Channels = tuple[float, float, float]


def own_spec(
    name: str, *, backend: BackendName, architecture: str, checkpoint: str, sha256: str | None = None,
    image_size: int | None = None, mean: Channels | None = None, std: Channels | None = None,
) -> ModelSpec:  # fmt: skip
    """The spec of a person's own checkpoint (a local path or an http(s) URL); its dim is that of the architecture.

    `architecture` is a name of the backend's library, or for open_clip the path of a model_config (`.json`): the
    training code's, or an open_clip_config.json, whose preprocessing counts as well. `sha256` is the whole digest,
    without which a TorchScript archive is not loaded. `image_size`, `mean` and `std` replace upstream's. Raises
    SettingsError for an architecture or a size that the backend does not have, and for what is no name.
    """
    _check_name(name)
    options: tuple[tuple[str, int | str | bool], ...] = (("force_image_size", image_size),) if image_size else ()
    text: tuple[WeightsSource, ...] = ()
    if backend == "open_clip" and architecture.endswith(".json"):
        architecture, config = _read_config(Path(architecture).expanduser())
        options += ((MODEL_CONFIG, config),)
        text = text_files(json.loads(config)["model_cfg"])
    clip = backend in ("openai_clip", "open_clip")
    draft = ModelSpec(
        name=name, backend=backend, architecture=architecture, pretrained="", dim=0, image_size=image_size or 0,
        parameters=0, weights=WeightsSource(_address(checkpoint), sha256), licence="your own", text=clip, mean=mean,
        std=std, options=options, others=(*_beside(_address(checkpoint)), *text),
    )  # fmt: skip
    if any(source.url.endswith("/config.json") and not source.optional for source in text):
        cfg = json.loads(dict(options)[MODEL_CONFIG])["model_cfg"]  # type: ignore[arg-type]
        return replace(draft, dim=cfg["embed_dim"], image_size=image_size or cfg["vision_cfg"]["image_size"])
    return measured(draft)


def _check_name(name: object) -> None:
    """It is the name of a dataset, and one of several between commas."""
    steps = name.split("/") if isinstance(name, str) and name.isprintable() and "," not in name else [""]
    if any(step.strip() in ("", ".", "..") for step in steps):
        raise SettingsError(f"Expected a name for the model, without commas and control characters. Got {name!r}.")


def _read_config(path: Path) -> tuple[str, str]:
    """`canonical` of the model_config in a file."""
    try:
        found = json.loads(path.read_text("utf-8"))
        whole = found if "model_cfg" in found else {"model_cfg": found}
        lacking = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in whole["model_cfg"]]
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"Expected a model_config of open_clip in {path}. It cannot be read: {error}.") from error
    if lacking:
        raise SettingsError(f"Expected a model_config of open_clip in {path}. It lacks {', '.join(lacking)}.")
    return canonical(path.stem, whole)


def _beside(address: str) -> Iterator[WeightsSource]:
    """The files that say more of a checkpoint, where it lies or may lie."""
    folder = address.rpartition("/")[0]
    for name in READERS:
        if address.startswith("http") or Path(unquote(folder.removeprefix("file:")), name).is_file():
            yield WeightsSource(f"{folder}/{name}", optional=True)


def measured(draft: ModelSpec) -> ModelSpec:
    """The draft of a spec with the dim, input size and parameters that its architecture has, found on `meta`."""
    from pixelmill.models.load import instantiate

    return measured_as(draft, instantiate(draft))


def _address(checkpoint: str) -> str:
    if checkpoint.startswith(("http://", "https://", "file:")):
        return checkpoint
    return f"file:{quote(str(Path(checkpoint).expanduser().absolute()), errors='surrogateescape')}"
