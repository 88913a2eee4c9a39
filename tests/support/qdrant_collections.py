"""The collections of `qdrant_server`: a shard of Qdrant's engine each, with settings and aliases beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models


class Refused(Exception):
    """An answer that is an error, as (HTTP status, words)."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def missing(name: str) -> Refused:
    return Refused(404, f"Not found: Collection `{name}` doesn't exist!")


class Collections:
    """The collections of a folder, their settings and aliases; open until the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = folder / "names.json"
        folder.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self._names.read_text()) if self._names.exists() else {}
        self.settings: dict[str, dict[str, Any]] = kept.get("settings", {})
        self.aliases: dict[str, str] = kept.get("aliases", {})
        self._open: dict[str, edge.EdgeShard] = {}

    def keep(self) -> None:
        new = self._names.with_suffix(".new")
        new.write_text(json.dumps({"settings": self.settings, "aliases": self.aliases}))
        new.replace(self._names)

    def full(self) -> bool:
        """Whether it is told that its disk is full: its files are as large as they will be, and a limit does not bite."""
        return (self._folder.parent / "full").exists()

    def named(self, name: str) -> str:
        """The collection that a name or an alias means."""
        name = self.aliases.get(name, name)
        if name not in self.settings:
            raise missing(name)
        return name

    def shard(self, name: str) -> edge.EdgeShard:
        name = self.named(name)
        if name not in self._open:
            self._open[name] = edge.EdgeShard.load(str(self._folder / f"c-{name}"))
        return self._open[name]

    def create(self, name: str, asked: models.CreateCollection) -> None:
        if name in self.settings or name in self.aliases:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        if not isinstance(asked.vectors, models.VectorParams):
            raise Refused(501, "Expected one vector without a name.")
        folder = self._folder / f"c-{name}"
        shutil.rmtree(folder, ignore_errors=True)  # of a server that was killed between the two writes below
        self._open[name] = edge.EdgeShard.create(str(folder), _configured(asked.vectors))
        self.settings[name] = asked.model_dump(exclude_none=True, mode="json")
        self.keep()

    def delete(self, name: str) -> bool:
        if name not in self.settings:
            return False
        if shard := self._open.pop(name, None):
            shard.close()
        del self.settings[name]
        self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}
        self.keep()
        shutil.rmtree(self._folder / f"c-{name}")
        return True

    def change_aliases(self, operations: list[models.AliasOperations]) -> None:
        """All or none."""
        new = dict(self.aliases)
        for operation in operations:
            if isinstance(operation, models.CreateAliasOperation):
                made = operation.create_alias
                if made.alias_name in self.settings:
                    raise Refused(409, f"Wrong input: Collection `{made.alias_name}` already exists!")
                new[made.alias_name] = self.named(made.collection_name)
            elif isinstance(operation, models.DeleteAliasOperation):
                new.pop(operation.delete_alias.alias_name, None)
            else:
                moved = operation.rename_alias
                if moved.old_alias_name not in new:
                    raise Refused(404, f"Not found: Alias {moved.old_alias_name} does not exists!")
                new[moved.new_alias_name] = new.pop(moved.old_alias_name)
        self.aliases = new
        self.keep()


def _configured(vectors: models.VectorParams) -> edge.EdgeConfig:
    datatype = getattr(edge.VectorStorageDatatype, (vectors.datatype or "float32").capitalize())
    distance = {"Cosine": "Cosine", "Dot": "Dot", "Euclid": "Euclid", "Manhattan": "Manhattan"}[vectors.distance]
    params = edge.EdgeVectorParams(vectors.size, getattr(edge.Distance, distance), datatype=datatype)
    return edge.EdgeConfig(vectors=params, wal_enabled=True)
