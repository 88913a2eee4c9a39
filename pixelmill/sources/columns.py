"""Which columns of a Parquet file hold images, however deep they lie: in structs, lists, maps, dictionaries, views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

ITEMS: Final = "*"
"""A step into the items of a list, or the entries of a map; other steps name a field of a struct."""

Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Where images lie: their `name` for people, the top-level `field`, the `steps` from its value to that of an image,
    the leaf with the bytes and that with the path beside it (numbers as Parquet counts leaves; None: there is none).
    `bare`: the bytes are no field of a struct of {bytes, …}, so that they may be anything."""

    name: str
    field: str
    steps: Steps
    leaf: int
    path: int | None
    bare: bool

    def values(self, value: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
        """What a row holds of this column, each with its number in each of the lists that it lies in. What is not there
        comes as None, and so does a list without items: as often as Parquet counts a null."""
        yield from _values(value, self.steps, ())

    def at(self, value: Any, items: tuple[int, ...]) -> bytes | None:
        """The bytes of one image of a row. Raises IndexError for an item that there is not."""
        numbers = iter(items)
        for step in (*self.steps, *(() if self.bare else ("bytes",))):
            if value is None:
                return None
            value = _listed(value)[next(numbers)] if step == ITEMS else value.get(step)
        return value if value is None or isinstance(value, bytes) else bytes(value)

    @property
    def depth(self) -> int:
        """In how many lists an image lies."""
        return self.steps.count(ITEMS)


def image_columns(schema: Any) -> Iterator[Column]:
    """The columns of an Arrow schema that hold structs of {bytes, …}, and those of bytes."""
    number = 0
    for field in schema:
        yield from _below(field.name, field.type, (), number)
        number += _leaves(field.type)


def other_columns(schema: Any) -> tuple[dict[str, list[int]], list[str]]:
    """The columns of an Arrow schema that hold no bytes anywhere, each with the numbers of its leaves; and the others,
    whether they are images or not."""
    plain, others, number = dict[str, list[int]](), list[str](), 0
    for field in schema:
        leaves = range(number, number := number + _leaves(field.type))
        if _holds_bytes(field.type):
            others.append(field.name)
        else:
            plain.setdefault(field.name, []).extend(leaves)
    return plain, others


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    kind = _plain(kind)
    if pa.types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _holds_bytes(kind.key_type) or _holds_bytes(kind.item_type)
    return _holds_bytes(kind.value_type) if is_list(kind) else _is_bytes(kind)


def _below(name: str, kind: Any, steps: Steps, first: int) -> Iterator[Column]:
    import pyarrow as pa

    kind = _plain(kind)
    if _is_bytes(kind):
        yield Column(_shown(name, steps), name, steps, first, None, bare=True)
    elif pa.types.is_struct(kind):
        fields = dict(_fields(kind, first))
        if "bytes" in fields and _is_bytes(_plain(fields["bytes"][1])):
            path = fields["path"][0] if "path" in fields and _is_text(fields["path"][1]) else None
            yield Column(_shown(name, steps), name, steps, fields["bytes"][0], path, bare=False)
            return
        for inner, (leaf, inside) in fields.items():
            yield from _below(name, inside, (*steps, inner), leaf)
    elif pa.types.is_map(kind):
        for inner, (leaf, inside) in _fields(pa.struct([("key", kind.key_type), ("value", kind.item_type)]), first):
            yield from _below(name, inside, (*steps, ITEMS, inner), leaf)
    elif is_list(kind):
        yield from _below(name, kind.value_type, (*steps, ITEMS), first)


def _fields(kind: Any, first: int) -> Iterator[tuple[str, tuple[int, Any]]]:
    """The fields of a struct: the number of the first leaf of each, and its type."""
    for field in kind:
        yield field.name, (first, field.type)
        first += _leaves(field.type)


def _leaves(kind: Any) -> int:
    """How many of Parquet's columns a type takes."""
    import pyarrow as pa

    kind = _plain(kind)
    if pa.types.is_struct(kind):
        return sum(_leaves(field.type) for field in kind)
    if pa.types.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    return _leaves(kind.value_type) if is_list(kind) else 1


def _plain(kind: Any) -> Any:
    """A type without what extensions and dictionaries put around it."""
    import pyarrow as pa

    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def is_list(kind: Any) -> bool:
    """Whether a type is one of Arrow's lists."""
    import pyarrow as pa

    tests = ("is_list", "is_large_list", "is_fixed_size_list", "is_list_view", "is_large_list_view")
    return any(getattr(pa.types, test)(kind) for test in tests)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    tests = ("is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary")
    return any(getattr(pa.types, test)(kind) for test in tests)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    kind = _plain(kind)
    return any(getattr(pa.types, test)(kind) for test in ("is_string", "is_large_string", "is_string_view"))


def _shown(name: str, steps: Steps) -> str:
    return ".".join([name, *(step for step in steps if step != ITEMS)])


def _values(value: Any, steps: Steps, items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    if not steps or value is None or (steps[0] == ITEMS and not len(value)):
        yield items, value if not steps else None
    elif steps[0] == ITEMS:
        for number, item in enumerate(_listed(value)):
            yield from _values(item, steps[1:], (*items, number))
    else:
        yield from _values(value.get(steps[0]), steps[1:], items)


def _listed(value: Any) -> list[Any]:
    """The items of a list; the entries of a map, which come as pairs, as {key, value}."""
    return [{"key": item[0], "value": item[1]} if isinstance(item, tuple) else item for item in value]
