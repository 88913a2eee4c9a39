"""A Dockerfile carried out without Docker: FROM is Debian by debootstrap, RUN a command in that root. Only root can.

    image = build(ROOT / "deployments" / "Dockerfile", ROOT, tmp_path / "root", cache=Path.home() / ".cache")
    print(image.start("pixelmill", "--version"))     # as its user, in its folder, with its environment

Packages come from where this machine has them: what pip is told here are variables of each RUN, and folders that
they name are seen by it. The image keeps nothing of that.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

PYTHON = ("ca-certificates", "netbase", "tzdata", "python3", "python3-venv", "python3-pip")
"""What the image python:… has beside Debian."""
ENTER = """
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
echo "$BINDS" | while IFS=: read -r here there mode; do
  [ -z "$here" ] || mount --bind "$here" "$0$there"
  [ "$mode" != ro ] || mount -o remount,bind,ro "$0$there"
done
exec chroot "$@"
"""
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
NETWORK = {"/etc/resolv.conf": "/etc/resolv.conf:ro", "/etc/hosts": "/etc/hosts:ro"}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
Binds = Mapping[str, str]
"""Folders and files here, and where they are seen in the root; with `:ro`, only to be read."""


@dataclass
class Image:
    """What Docker would start."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    workdir: str = "/"
    user: str = "0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, binds: Binds | None = None) -> str:
        """What `docker run` prints with these arguments. Raises AssertionError when it fails."""
        return self.enter([*self.entrypoint, *(arguments or self.command)], env or {}, binds or {})

    def enter(self, command: list[str], env: Mapping[str, str], binds: Binds) -> str:
        uid, gid, home = self._who()
        seen = {**NETWORK, **binds}
        for here, there in seen.items():
            self._make_place(Path(here), self.inside(there.removesuffix(":ro")))
        who = [f"--userspec={uid}:{gid}", f"--groups={gid}", str(self.root)]
        given = [f"{name}={value}" for name, value in {"HOME": home, **self.env, **env}.items()]
        words = [*UNSHARE, "sh", "-ec", ENTER, str(self.root), *who]
        done = subprocess.run(
            [*words, "env", "-i", f"--chdir={self.workdir}", *given, *command],
            env={**os.environ, "BINDS": "\n".join(f"{here}:{there}" for here, there in seen.items())},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}: {done.stdout[-4000:]}"
        return done.stdout

    def inside(self, place: str) -> Path:
        """A place of the image, as it is seen from here."""
        return self.root / place.lstrip("/")

    def _who(self) -> tuple[str, str, str]:
        """User, group and home of USER."""
        for line in self.inside("/etc/passwd").read_text().splitlines():
            name, _, uid, gid, _, home, _ = line.split(":")
            if self.user in (name, uid):
                return uid, gid, home
        raise AssertionError(f"Expected /etc/passwd of the image to have USER {self.user}.")

    @staticmethod
    def _make_place(here: Path, place: Path) -> None:
        (place if here.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
        if not here.is_dir():
            place.touch()


def why_not() -> str:
    """Why no image can be built here; empty if one can."""
    if os.getuid():
        return "Only root can build an image by debootstrap."
    missing = [program for program in ("debootstrap", "unshare", "chroot") if not shutil.which(program)]
    if missing:
        return f"Not installed: {', '.join(missing)}."
    return subprocess.run([*UNSHARE, "true"], capture_output=True, text=True).stderr.strip()


def build(dockerfile: Path, context: Path, root: Path, cache: Path, **arguments: str) -> Image:
    """Carry out each step. `cache` is what `RUN --mount=type=cache` sees, `arguments` are those of `--build-arg`."""
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().split()
    builder = _Builder(Image(root), context, ignored, cache, arguments)
    for name, rest in steps(dockerfile.read_text()):
        getattr(builder, f"do_{name.lower()}")(rest)
    return builder.image


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction, and what follows it. Raises ValueError for one that is not known here."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for step in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = step.partition(" ")
        if not hasattr(_Builder, f"do_{name.lower()}"):
            raise ValueError(f"Expected an instruction that tests/support/dockerfile.py knows. Got {name!r}.")
        yield name, rest.strip()


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether a .dockerignore keeps a path out of the build: the last pattern counts that is its, or a folder's above."""
    above = [path, *map(str, Path(path).parents)][:-1] if path != "." else []
    verdict = False
    for pattern in patterns:
        bare = pattern.lstrip("!")
        names = [Path(step).name for step in above] if bare.startswith("**/") else above
        if any(fnmatch(name, bare.removeprefix("**/")) for name in names):
            verdict = not pattern.startswith("!")
    return verdict


@dataclass
class _Builder:
    image: Image
    context: Path
    ignored: list[str]
    cache: Path
    arguments: dict[str, str]
    known: dict[str, str] = field(default_factory=dict)
    """ARGs so far: variables of each RUN that comes."""

    def do_from(self, rest: str) -> None:
        found = re.fullmatch(r"python:(3\.\d+)-slim-(\w+)", rest)
        assert found, f"Expected FROM python:3.N-slim-SUITE. Got {rest}."
        version, suite = found.groups()
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PYTHON)}", suite, str(self.image.root)]
        done = subprocess.run([*command, *_mirror(suite)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout[-4000:]
        self.image.inside("/usr/local/bin/python").symlink_to("/usr/bin/python3")
        for marker in self.image.root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()  # that image's pip installs where it is asked to
        said = self.image.enter(["python", "--version"], {}, {})
        assert said.startswith(f"Python {version}."), f"Expected Python {version} in {suite}. Got {said}"

    def do_arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self.known[name] = self.arguments.get(name, default)

    def do_env(self, rest: str) -> None:
        known = {**self.known, **self.image.env}
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.image.env[name] = re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ""), value)

    def do_workdir(self, rest: str) -> None:
        self.image.workdir = str(Path(self.image.workdir, rest))
        self.image.inside(self.image.workdir).mkdir(parents=True, exist_ok=True)

    def do_user(self, rest: str) -> None:
        self.image.user = rest

    def do_cmd(self, rest: str) -> None:
        self.image.command = json.loads(rest)

    def do_entrypoint(self, rest: str) -> None:
        self.image.entrypoint = json.loads(rest)

    def do_copy(self, rest: str) -> None:
        *sources, target = shlex.split(rest)
        into = self.image.inside(str(Path(self.image.workdir, target)))
        for source in sources:
            assert not is_ignored(source, self.ignored), f"COPY {source}: .dockerignore keeps it out."
            here = self.context / source
            if here.is_dir():
                shutil.copytree(here, into, ignore=self._left_out, dirs_exist_ok=True)
            else:
                shutil.copy2(here, into)

    def _left_out(self, folder: str, names: list[str]) -> set[str]:
        below = Path(folder).relative_to(self.context)
        return {name for name in names if is_ignored(str(below / name), self.ignored)}

    def do_run(self, rest: str) -> None:
        told, packages = _packages()
        cached = {}
        while found := re.match(r"--mount=type=cache,target=(\S+)\s+", rest):
            self.cache.mkdir(parents=True, exist_ok=True)
            cached[str(self.cache)] = found[1]
            rest = rest[found.end() :]
        self.image.enter(["sh", "-c", rest], {**told, **self.known}, {**packages, **cached})


def _mirror(suite: str) -> list[str]:
    """Where this machine has the packages of a suite from; nothing if it has none of it."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    said = subprocess.run(asked, capture_output=True, text=True).stdout
    return [line.split()[0] for line in said.splitlines() if line.split()[1:] == [suite]][:1]


def _packages() -> tuple[dict[str, str], dict[str, str]]:
    """Variables by which pip finds packages as it does here, and the places of this machine that these name."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    lines = [line.partition("=") for line in sorted(said.splitlines(), reverse=True)]  # variables come last, and count
    told = {f"PIP_{_option(key)}": " ".join(ast.literal_eval(value).split()) for key, _, value in lines if value}
    told |= {name: value for name, value in os.environ.items() if name.lower() in PROXIES or name.startswith("UV_")}
    places = {place for value in told.values() for word in value.split() for place in _place(word)}
    return told, {place: f"{place}:ro" for place in places}


def _option(key: str) -> str:
    return key.rpartition(".")[2].upper().replace("-", "_")


def _place(word: str) -> Iterator[str]:
    """A folder of packages, or of an index (its files lie beside it), or a file of certificates."""
    path = Path(word.removeprefix("file://"))
    if path.is_absolute() and path.exists():
        yield str(path.parent if word.startswith("file://") else path)
