"""Write torchvision_models.json, the catalog's table of torchvision: `python -m pixelmill.tables.torchvision`.

A table, because asking torchvision itself takes the seconds that importing torch takes, at each `pixelmill --help`.
"""

from __future__ import annotations

import json
from pathlib import Path

from pixelmill.models.base import ModelSpec

Row = dict[str, str | int | None]

TABLE = Path(__file__).parents[1] / "torchvision_models.json"


def rows() -> list[Row]:
    """Every classifier of the installed torchvision, with its DEFAULT weights, in torchvision's order."""
    import torchvision.models as upstream

    from pixelmill.models.torchvision import describe

    names = upstream.list_models(module=upstream)
    return [_row(describe(name, name, upstream.get_model_weights(name).DEFAULT)) for name in names]


def _row(spec: ModelSpec) -> Row:
    return {
        "name": spec.name, "weights": spec.pretrained, "dim": spec.dim, "image_size": spec.image_size,
        "parameters": spec.parameters, "url": spec.weights.url, "sha256": spec.weights.sha256,
        "bytes": spec.weights.bytes, "licence": spec.licence,
    }  # fmt: skip


def main() -> None:
    """Write the table anew."""
    TABLE.write_text(json.dumps(rows(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
