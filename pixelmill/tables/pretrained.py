"""Write pretrained.json, what every published weight is: `python -m pixelmill.tables.pretrained`.

A table, because building all of them takes minutes. Each architecture is built once, on `meta`, by the code that loads
it; names of one architecture with as many classes differ in their input size only, which their own configuration says.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pixelmill import catalog
from pixelmill.models.base import ModelSpec

Row = dict[str, str | int | None]

TABLE = Path(__file__).parents[1] / "pretrained.json"
_AT_ONCE = 8


def names() -> list[str]:
    """Every name beyond the catalog whose weights the installed libraries list, in their order."""
    import open_clip
    import timm
    import torchvision.models as upstream

    return [
        *(f"open_clip:{architecture}/{tag}" for architecture, tag in open_clip.list_pretrained()),
        *(f"timm:{name}" for name in timm.list_pretrained()),
        *(
            f"torchvision:{name}/{weights}"
            for name in upstream.list_models(module=upstream)
            for weights in upstream.get_model_weights(name).__members__
            if weights != "DEFAULT"
        ),
    ]


def rows(processes: int = 2, only: Callable[[str], bool] = lambda _name: True) -> list[Row]:
    """What each of them is, or why it is of no use here. About eight minutes for all, by two processes."""
    groups: dict[object, list[str]] = {}
    for name in filter(only, names()):
        groups.setdefault(_alike(name), []).append(name)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(_described, groups.values(), chunksize=_AT_ONCE)
        described = {str(row["name"]): row for group in found for row in group}
    return [described[name] for name in filter(only, names())]


def _alike(name: str) -> object:
    """What names of one build share: the architecture, and what of its configuration shapes it."""
    if not name.startswith("timm:"):
        return name
    import timm

    cfg = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    assert cfg is not None
    return name.partition(".")[0], cfg.num_classes, cfg.crop_mode, cfg.interpolation, cfg.custom_load


def _described(group: Iterable[str]) -> list[Row]:
    import torch

    torch.set_num_threads(1)
    first, *others = group
    spec = _spec(first)
    if isinstance(spec, str):
        return [{"name": name, "why_not": spec} for name in (first, *others)]
    return [_row(spec, first), *(_row(spec, name) for name in others)]


def _spec(name: str) -> ModelSpec | str:
    """The spec, or the reason why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return catalog.get(name)
        except Exception as error:  # whatever a library's own code raises while an architecture is built
            return f"{type(error).__name__}: {str(error).replace(name, 'it')}"[:160]


def _row(spec: ModelSpec, name: str) -> Row:
    size, licence = spec.image_size, spec.licence
    if name != spec.name:
        import timm

        cfg = timm.get_pretrained_cfg(name.removeprefix("timm:"))
        assert cfg is not None
        size, licence = cfg.input_size[-1], cfg.license or "see the model card"
    return {
        "name": name, "dim": spec.dim, "image_size": size, "parameters": spec.parameters, "licence": licence,
        "bytes": spec.weights.bytes if name == spec.name else None,
    }  # fmt: skip


def main() -> None:
    """Write the table anew."""
    lines = ",\n".join(json.dumps(row) for row in rows())
    TABLE.write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
