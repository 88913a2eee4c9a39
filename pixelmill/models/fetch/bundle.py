"""A folder of verified weights to carry to a machine without a network, where it serves as the mirror of every hub.

bundle/HOST/PATH        each file under its upstream address, as `*` mirrors have it (`mirrors.locate`)
bundle/bundle.json      of each file its sha256, size and URL; of each model its files
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pixelmill.errors import WeightsRefused
from pixelmill.models.fetch.records import sync_folder, write_json

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """One file of a bundle: where it came from, its whole sha256 in hex, its size in bytes."""

    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle's manifest says: files by their path in the bundle, and the paths that each model needs."""

    files: dict[str, Packed]
    models: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path) -> Bundle | None:
        """The manifest in `folder`; None where there is none. Raises WeightsRefused for one that cannot be read."""
        path = folder / MANIFEST
        try:
            raw = json.loads(path.read_text("utf-8"))
            if raw["format"] != FORMAT:
                raise WeightsRefused(f"Expected a bundle of format {FORMAT} in {folder}. Found {raw['format']!r:.20}.")
            files = {str(name): Packed(**packed) for name, packed in raw["files"].items()}
            return cls(files, {str(name): list(paths) for name, paths in raw["models"].items()})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsRefused(f"Expected a bundle's manifest in {path}. It cannot be read ({error}).") from error

    def write(self, folder: Path) -> None:
        """Replace the manifest in `folder`, whole or not at all."""
        files = {name: asdict(packed) for name, packed in sorted(self.files.items())}
        write_json(folder / MANIFEST, {"format": FORMAT, "files": files, "models": dict(sorted(self.models.items()))})
        sync_folder(folder)


def promised_sha256(folder: Path, path: Path) -> str | None:
    """What the manifest of a mirror folder says of a file in it; None where the folder is no bundle.

    Raises WeightsRefused for a file that the bundle's manifest does not name.
    """
    bundle = Bundle.read(folder)
    if bundle is None:
        return None
    name = path.relative_to(folder).as_posix()
    if name not in bundle.files and path.exists():
        raise WeightsRefused(f"Expected {path} in the bundle's manifest ({folder / MANIFEST}). It is not named there.")
    return bundle.files[name].sha256 if name in bundle.files else None
