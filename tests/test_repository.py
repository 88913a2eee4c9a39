"""What is committed holds together: dependencies and their pins, the two READMEs, and no path of anybody's machine."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent


def test_every_dependency_is_pinned_in_the_constraints() -> None:
    """What pyproject.toml bounds, constraints.txt pins, within the bounds."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    for requirement in map(Requirement, wanted):
        if requirement.name == project["name"]:  # the extra that is all extras
            assert requirement.extras == set(project["optional-dependencies"]) - {"all", "dev"}
            continue
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"
        assert any(s.operator in ("<", "==", "<=") for s in requirement.specifier), f"{requirement} has no upper bound"


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    """Nothing committed says where it was written."""
    suspicious = re.compile(r"/(?:home|Users)/\w+/|C:\\\\Users")
    for folder in ("pixelmill", "flows", "tasks", "settings", "deployments", "examples", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".yaml", ".env", ".service", ".json"):
                assert not suspicious.search(path.read_text()), path


def test_the_documents_name_files_that_are_there() -> None:
    """Whoever renames a file changes the pages that send people to it."""
    pages = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    named = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|json|js|toml|yaml))\b")
    for page in pages:
        for name in named.findall(page.read_text("utf-8")):
            assert any((ROOT / top / name).exists() for top in ("", "pixelmill")), f"{page.name}: {name}"


def test_settings_that_the_documents_show_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of TOML can be copied into pixelmill.toml, or each of its lines into a delivery: names and values are
    right, and it is TOML."""
    from settings import load_settings

    monkeypatch.delenv("PIXELMILL_CONFIG", raising=False)
    blocks = [
        (page.name, textwrap.dedent(block))
        for page in (*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md"))
        for block in re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S)
    ]
    assert len(blocks) > 10
    for number, (page, block) in enumerate(blocks):
        file = tmp_path / f"{page}-{number}.toml"
        for settings in _deliveries(block) if block.startswith("to = ") else [block]:
            file.write_text(settings)
            load_settings(file)


def _deliveries(addresses: str) -> list[str]:
    """A delivery to each of these lines."""
    return [f'[[deliveries]]\nname = "search"\nmodels = ["a"]\n{line}\n' for line in addresses.splitlines()]


LINKS = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
CHINESE = [page.relative_to(ROOT).as_posix() for page in PAGES if page.name.endswith(".zh-CN.md")]


def test_every_link_leads_somewhere() -> None:
    """Pages and pictures that others link to are there."""
    for page in PAGES:
        for link in LINKS.findall(page.read_text("utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_page_is_that_of_the_english_one(name: str) -> None:
    """Both have the same sections, commands, links, pictures and keys of tables, so that neither is forgotten."""
    chinese = (ROOT / name).read_text("utf-8").replace(".zh-CN.md", ".md")
    english = (ROOT / name.replace(".zh-CN", "")).read_text("utf-8").replace(".zh-CN.md", ".md")
    for pattern in (r"\]\(([^)]+)\)", r"^    (pixelmill \w+)", r"^\$ ([^#\n]*)", r"^\| (`[^|]*)\|"):
        found = [
            sorted({" ".join(hit.replace("、", ", ").split()) for hit in re.findall(pattern, text, re.M)})
            for text in (english, chinese)
        ]
        assert found[0] == found[1], pattern
    assert len(re.findall("^## ", english, re.M)) == len(re.findall("^## ", chinese, re.M))


def test_each_command_is_on_its_page() -> None:
    """docs/commands.md lists what `pixelmill --help` does."""
    from pixelmill.cli.main import cli

    page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    listed = set(re.findall(r"\bpixelmill (\w+)", "\n".join(re.findall("^    .*$", page, re.M))))
    assert listed == set(cli.list_commands(click.Context(cli)))
