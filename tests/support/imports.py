"""Who imports whom, read off the source: at the top of a module, in a function, for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

Graph = dict[str, set[str]]


def modules(root: Path, packages: tuple[str, ...]) -> dict[str, Path]:
    """Every module of some packages in a folder, by its dotted name."""
    paths = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path: Path) -> frozenset[str]:
    """All that a file may import: each module that it names, and each name that it takes from one, as if that were one."""
    return _imports(path.read_text())


@cache
def tree_of(source: str) -> ast.Module:
    """A file's syntax, read once however many rules ask for it."""
    return ast.parse(source)


@cache
def _imports(source: str) -> frozenset[str]:
    return frozenset(_named(tree_of(source)))


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level + (node.module or "")
            yield from (f"{above}:{alias.name}" for alias in node.names)


def graph(known: Mapping[str, Path]) -> Graph:
    """Which of the known modules each imports. `from a import b` is an arrow to a.b if that is a module, else to a."""
    return {
        module: {found for name in imports(path) if (found := _resolved(name, known))} for module, path in known.items()
    }


def _resolved(name: str, known: Mapping[str, Path]) -> str | None:
    dotted = name.replace(":", ".")
    return next((found for found in (dotted, name.partition(":")[0]) if found in known), None)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other, by a walk from each."""
    reach = {node: _reached(graph, node) for node in graph}
    groups = {frozenset({node, *(other for other in reach[node] if node in reach.get(other, ()))}) for node in graph}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen, waiting = set[str](), [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - seen
        seen |= new
        waiting.extend(new)
    return seen
