"""The house keeps its directions: each is a rule that holds for what is committed, and that fails where it is broken."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.imports import Graph, circles, graph, imports, modules, tree_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("pixelmill", "flows", "tasks", "settings")
TEXTS = ("docs", "README.md", "CONTRIBUTING.md")
BASE = (
    "errors",
    "version",
    "formatting",
    "batches",
    "choices",
    "descriptors",
    "malloc",
    "paths",
    "progress",
    "beside",
    "called",
)
DIRECTION = (
    BASE,
    ("devices", "proxies", "watch"),
    ("sources",),
    ("images",),
    ("store",),
    ("models",),
    ("catalog",),
    ("provenance", "embedding", "plan"),
    ("pipeline",),
    ("travel", "joining"),
    ("search",),
    ("curation", "heads"),
    ("deliver",),
    ("run",),
    ("evaluation",),
    ("report", "bench"),
    ("web", "tables"),
    ("forgetting",),
    ("settings", "tasks"),
    ("flows", "api"),
    ("cli",),
)
"""The rooms in the order in which data passes them: one imports from those in the lines before its own, and from none
beside it. Rooms of the library are packages or single files of `pixelmill/`."""
TOGETHER = {
    "pixelmill", "pixelmill.__main__", "pixelmill.run", "pixelmill.run.steps", "pixelmill.run.direct", "pixelmill.deliver",
}  # fmt: skip
"""Where things are put together: the facade, `python -m pixelmill`, the one list of a run's steps, which ends with the
report, how it is carried out in one process, and the packages that are `pixelmill.run` and `pixelmill.deliver` when they
are called.
They may see every room."""
LONGEST = 300
EXCUSE = "More than 300 lines: "
"""A longer file says why, in its opening docstring, behind these words."""
STRANGE = {
    "apart": "sandbox", "consult": "readonly", "desk": "RunPlace", "disguise": "sniff", "harvest": "ShardRows",
    "holdings": "inventory", "morning": "report", "patiently": "retry", "sightings": "scans", "strangers": "what they are",
}  # fmt: skip
"""Words that only their author knew, as parts of names, and what a stranger of the field guesses instead."""
STRANGE_NAMES = {"Lacking", "Orders", "Pace", "check_means"}
Rule = Callable[[Path], list[str]]


def arrows(root: Path) -> Graph:
    return graph(modules(root, PACKAGES))


def room(module: str) -> str:
    """Which of DIRECTION a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pixelmill" and len(parts) > 1 else parts[0]


def no_arrow_back(root: Path) -> list[str]:
    """A room imports from those before it, never from one behind it or beside it, and nobody imports the facade."""
    line = {name: i for i, names in enumerate(DIRECTION) for name in names}
    line["pixelmill"] = line["__main__"] = len(DIRECTION)
    return sorted(
        f"{module} -> {target}"
        for module, targets in arrows(root).items()
        if module not in TOGETHER
        for target in targets
        if room(module) != room(target) and line[room(target)] >= line[room(module)]
        and not {room(module), room(target)} <= set(BASE)
    )  # fmt: skip


def every_room_has_a_place(root: Path) -> list[str]:
    """A new room is given its line in DIRECTION, and a line names no room that is not there."""
    there = {room(module) for module in modules(root, PACKAGES) if module not in TOGETHER}
    return sorted(there ^ {name for names in DIRECTION for name in names})


def the_table_of_rooms_is_true(root: Path) -> list[str]:
    """CONTRIBUTING.md has a line for each package of the library, and one imports only from those above it."""
    listed: list[str] = re.findall(r"^\| `(\w+)/` \|", (root / "CONTRIBUTING.md").read_text(), re.M)
    line = {name: i for i, names in enumerate(DIRECTION) for name in names}
    packages = {path.parent.name for path in (root / "pixelmill").glob("*/__init__.py")}
    late = {a for a, b in pairwise(listed) if {a, b} <= line.keys() and line[a] > line[b]}
    return sorted(f"CONTRIBUTING.md: {name}" for name in packages ^ set(listed) | late)


def no_circle_of_files(root: Path) -> list[str]:
    """No two files need each other, by whatever way."""
    return [" <-> ".join(circle) for circle in circles(arrows(root))]


def no_circle_of_rooms(root: Path) -> list[str]:
    """Nor do two rooms, nor a room within a room and what lies beside it there."""
    packages = [name for name, path in modules(root, PACKAGES).items() if path.name == "__init__.py"]
    levels = [room, *(partial(within, package) for package in packages if package != "pixelmill")]
    return [" <-> ".join(circle) for level in levels for circle in circles(seen_at(level, arrows(root)))]


def within(package: str, module: str) -> str:
    """What of a package a module is or lies in; '' if it is none of its own."""
    own = module.removeprefix(f"{package}.")
    return "" if own == module else f"{package}.{own.split('.')[0]}"


def seen_at(level: Callable[[str], str], files: Graph) -> Graph:
    """What imports what where only that is told apart which `level` has a name for."""
    seen: Graph = {}
    for module, targets in files.items():
        if module not in TOGETHER and level(module):
            seen.setdefault(level(module), set()).update(filter(None, map(level, targets - TOGETHER)))
    return seen


def the_library_stands_alone(root: Path) -> list[str]:
    """It never imports Prefect; flows and tasks are for the command line alone, settings for what is called from Python
    as well."""
    found = {
        name: {top for imported in imports(path) if (top := re.split("[.:]", imported)[0])}
        for name, path in modules(root, ("pixelmill",)).items()
    }
    outside = {"prefect", "flows", "tasks", "settings"}
    allowed = {"cli": outside - {"prefect"}, "api": {"settings"}}
    return sorted(
        f"{name} -> {top}" for name in found for top in found[name] & outside - allowed.get(room(name), set())
    )


def imports_are_spelled_out(root: Path) -> list[str]:
    """From the top, so that the rules see each of them; a module is found by a string only among the commands and
    Pillow's plugins."""
    known = modules(root, PACKAGES)
    relative = {f"{name}: a relative import" for name, path in known.items() if any(i[0] == "." for i in imports(path))}
    by_string = {
        f"{name}: {called}"
        for name, path in known.items()
        for called in names_in(path)
        if called in ("import_module", "__import__") and name not in ("pixelmill.cli.main", "pixelmill.images.opening")
    }
    return sorted(relative | by_string)


def no_test_is_a_library(root: Path) -> list[str]:
    """What several tests need is in tests/support/, and stands on no test: no file imports from one."""
    tests = graph(modules(root, ("tests",)))
    return sorted(
        f"{a} -> {b}" for a, targets in tests.items() for b in targets if b.split(".")[-1].startswith("test_")
    )


def the_store_is_used_by_what_it_offers(root: Path) -> list[str]:
    """Other rooms import those of its modules that it names as theirs."""
    offered = ast.literal_eval(
        next(
            ast.unparse(node.value)
            for node in tree_of((root / "pixelmill/store/__init__.py").read_text()).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
    )
    return sorted(
        f"{module} -> {target}"
        for module, targets in arrows(root).items()
        for target in targets
        if room(module) != "store" and room(target) == "store"
        and target != "pixelmill.store" and target.removeprefix("pixelmill.store.") not in offered
    )  # fmt: skip


def no_long_file(root: Path) -> list[str]:
    """A file holds one thing, and that takes no more than 300 lines; or it says why it does."""
    lengths = {path: len(path.read_text().splitlines()) for path in modules(root, PACKAGES).values()}
    return sorted(
        f"{path.relative_to(root)}: {lines} lines"
        for path, lines in lengths.items()
        if lines > LONGEST and EXCUSE not in (ast.get_docstring(tree_of(path.read_text())) or "")
    )


def no_strange_word(root: Path) -> list[str]:
    """No name of a file, a class, a function or a variable is made of a word that has to be explained."""
    known = modules(root, (*PACKAGES, "tests", "benchmarks", "examples"))
    names = {(path.relative_to(root), name) for path in known.values() for name in {path.stem, *names_in(path)}}
    return sorted(f"{path}: {name}" for path, name in names if is_strange(name))


def no_strange_word_in_the_documents(root: Path) -> list[str]:
    """Nor does a document name one."""
    texts = [
        path for name in TEXTS for path in ([root / name] if name.endswith(".md") else (root / name).rglob("*.md"))
    ]
    named = {(path.relative_to(root), name) for path in texts for code in re.findall(r"`([^`\n]+)`", path.read_text())
             for name in re.findall(r"\w+", code)}  # fmt: skip
    return sorted(f"{path}: {name}" for path, name in named if is_strange(name))


def is_strange(name: str) -> bool:
    parts = {part.lower() for part in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}
    return not name.startswith("test_") and (name in STRANGE_NAMES or bool(parts & STRANGE.keys()))


def names_in(path: Path) -> frozenset[str]:
    """Every name that a file gives, uses or takes."""
    return _names(path.read_text())


@cache
def _names(source: str) -> frozenset[str]:
    given = [
        vars(node).get(field) for node in ast.walk(tree_of(source)) for field in ("id", "attr", "name", "arg", "asname")
    ]
    return frozenset(name for name in given if isinstance(name, str))


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        no_arrow_back, every_room_has_a_place, the_table_of_rooms_is_true, no_circle_of_files, no_circle_of_rooms,
        the_library_stands_alone,
        the_store_is_used_by_what_it_offers, imports_are_spelled_out, no_test_is_a_library, no_long_file,
        no_strange_word, no_strange_word_in_the_documents,
    )
}  # fmt: skip
LONG = "x = 1\n" * (LONGEST + 1)
BREAKS = [
    ("no_arrow_back", "pixelmill/sources/found.py", "import pixelmill.store.reader"),
    ("no_arrow_back", "pixelmill/images/colour.py", "def late():\n    from pixelmill.run import job"),
    ("no_arrow_back", "pixelmill/store/rows.py", "from pixelmill import Store"),
    ("no_arrow_back", "pixelmill/plan.py", "if TYPE_CHECKING:\n    from pixelmill.embedding import precision"),
    ("no_arrow_back", "settings/run.py", "from tasks import embed"),
    ("no_arrow_back", "tasks/plan.py", "from flows.embed import embed"),
    ("no_arrow_back", "pixelmill/web/app.py", "from pixelmill.cli import common"),
    ("every_room_has_a_place", "pixelmill/attic.py", ""),
    ("the_table_of_rooms_is_true", "CONTRIBUTING.md", "| `attic/` | what nobody wants |"),
    ("the_table_of_rooms_is_true", "CONTRIBUTING.md", "| `sources/` | once more |"),
    ("no_circle_of_files", "pixelmill/store/rows.py", "from pixelmill.store.commit import StoreWriter"),
    ("no_circle_of_files", "pixelmill/errors.py", "def late():\n    from pixelmill.models import base"),
    ("no_circle_of_rooms", "pixelmill/store/rows.py", "from pixelmill.run.job import Job"),
    ("no_circle_of_rooms", "pixelmill/web/gallery.py", "def late():\n    from pixelmill.web.api import overview"),
    ("the_library_stands_alone", "pixelmill/cli/main.py", "import prefect.client"),
    ("the_library_stands_alone", "pixelmill/run/scan.py", "def late():\n    from prefect import get_run_logger"),
    ("the_library_stands_alone", "pixelmill/run/job.py", "from settings.root import Settings"),
    ("the_library_stands_alone", "pixelmill/web/app.py", "from flows import vectorize"),
    ("the_library_stands_alone", "pixelmill/api/running.py", "def late():\n    from tasks.plan import plan_work"),
    ("imports_are_spelled_out", "pixelmill/store/rows.py", "from .commit import StoreWriter"),
    (
        "imports_are_spelled_out",
        "pixelmill/store/rows.py",
        "import importlib\nimportlib.import_module('pixelmill.web.app')",
    ),
    ("no_test_is_a_library", "tests/support/models.py", "from tests.test_plan import order"),
    ("the_store_is_used_by_what_it_offers", "pixelmill/run/scan.py", "from pixelmill.store.scans import Scans"),
    ("no_long_file", "pixelmill/batches.py", LONG),
    ("no_strange_word", "pixelmill/run/desk.py", ""),
    ("no_strange_word", "pixelmill/batches.py", "class Harvest:\n    pass"),
    ("no_strange_word", "tests/test_catalog.py", "def decode_apart():\n    pass"),
    ("no_strange_word", "flows/embed.py", "def of(lines):\n    return lines.sightings"),
    ("no_strange_word_in_the_documents", "docs/store.md", "What a `StoreDesk` keeps."),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule: str) -> None:
    """What is committed breaks none of them."""
    assert RULES[rule](ROOT) == []


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "file", "more"), BREAKS)
def test_what_breaks_a_rule_is_named(rule: str, file: str, more: str, house: Path) -> None:
    """A line more in one file, and the rule names that file, or its room."""
    before = set(RULES[rule](house))
    whole = (house / file).read_text() if (house / file).exists() else None
    (house / file).write_text(f"{whole or ''}\n{more}\n")
    try:
        (told,) = set(RULES[rule](house)) - before
    finally:
        (house / file).write_text(whole) if whole is not None else (house / file).unlink()
    assert file in told or room(file.removesuffix(".py").replace("/", ".")) in told


def test_each_rule_can_be_broken() -> None:
    """The test above breaks every rule at least once."""
    assert {rule for rule, *_ in BREAKS} == set(RULES)


def test_a_long_file_may_say_why(house: Path) -> None:
    """Its opening docstring is where."""
    long = house / "pixelmill" / "long.py"
    long.write_text(f'"""One table.\n\n{EXCUSE}it is one table."""\n{LONG}')
    assert not [told for told in no_long_file(house) if "long.py" in told]
    long.unlink()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the house, to break things in."""
    copy = tmp_path_factory.mktemp("house")
    for name in (*PACKAGES, *TEXTS, "tests", "benchmarks", "examples"):
        for path in (
            [ROOT / name] if name.endswith(".md") else [*(ROOT / name).rglob("*.py"), *(ROOT / name).rglob("*.md")]
        ):
            place = copy / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return copy
