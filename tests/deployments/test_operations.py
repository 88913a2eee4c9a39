"""docs/operations.md from top to bottom, on a machine of its own: each command as it stands there, by the user that it names."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.bare_root import BareRoot, why_not
from tests.support.prefect_server import ROOT
from tests.support.services import PASSWORD, postgres_programs

PAGE = ROOT / "docs/operations.md"
RUN = (
    "First deployment", "Be told", "Show the gallery", "Add a GPU", "Back up", "Restore", "Move to Postgres",
    "Back up Postgres", "Restore Postgres", "Upgrade", "The morning after",
)  # fmt: skip
"""The sections whose commands are run, in this order."""
ELSEWHERE = {
    "In containers": "Docker: test_service.py has compose check the file, test_image.py builds what is in the image",
    "When files come, and when the night is over": "a folder that systemd watches: there is none",
    "Add a GPU machine": "a second machine: tests/flows/test_machines.py has two",
}
UV_CACHE = Path.home() / ".cache/uv"
CHECKOUT = "/mnt/checkout"
"""Where that machine sees this checkout, wherever it is: its /tmp is its own."""
SETTINGS = "/opt/pixelmill/pixelmill.toml"
DATABASE = "/var/lib/pixelmill/prefect.db"
NIGHT = ".venv/bin/prefect deployment run vectorize/nightly"
RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
SERVER_STARTS = re.compile(r"systemctl .*(start|now) pixelmill-server")
SERVER = "http://127.0.0.1:4200"
IMAGES = 32


class Block(NamedTuple):
    """What stands between fences below a heading of the page: its language, and its lines without their indentation."""

    heading: str
    language: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    heading, lines = "", iter(page.splitlines())
    for line in lines:
        heading = found[1] if (found := re.match(r"##+ (.+)", line)) else heading
        if fence := re.match(r"( *)```(\w*)$", line):
            inside = takewhile(lambda inner: inner.strip() != "```", lines)
            yield Block(heading, fence[2], "\n".join(line.removeprefix(fence[1]) for line in inside))


def commands(page: str, heading: str) -> list[str]:
    """What the section below a heading has root type, in order; a command may have several lines."""
    consoles = [block.text for block in blocks(page) if block.heading == heading and block.language == "console"]
    return [command for text in consoles for command in re.split(r"^# ", text, flags=re.MULTILINE)[1:]]


def block(heading: str, language: str) -> str:
    (found,) = (each.text for each in blocks(PAGE.read_text()) if each[:2] == (heading, language))
    return found


def test_every_section_is_run_or_is_named_as_tried_elsewhere() -> None:
    """No command of the page is left out without a word."""
    with_commands = {each.heading for each in blocks(PAGE.read_text()) if each.language == "console"}
    assert with_commands == {*RUN, *ELSEWHERE}


def test_commands_are_found_with_all_their_lines() -> None:
    """In order, within lists as well; what is typed by users, and what is shown, is none."""
    page = "## One\n\n```console\n# a b \\\n  c\n# d\n```\n\n- so\n\n  ```console\n  # e\n  ```\n\n## Two\n```toml\n# f\n```\n"
    assert [command.strip() for command in commands(page, "One")] == ["a b \\\n  c", "d", "e"]
    assert commands(page, "Two") == []


class Operator:
    """Root at the machine, who follows the page."""

    def __init__(self, machine: BareRoot) -> None:
        self.machine = machine
        self.cwd = "/"
        self.variables: dict[str, str] = {}

    def follow(
        self, heading: str, told: Mapping[str, str] = {}, *, without: str = "", stdin: str = ""
    ) -> dict[str, str]:
        """Type the commands of a section, with what the page leaves open filled in as `told`; what each printed.
        `without`: leave out those that name this, which there must be."""
        printed, all_of_them = {}, commands(PAGE.read_text(), heading)
        chosen = [command for command in all_of_them if not (without and without in command)]
        assert (len(chosen) < len(all_of_them)) == bool(without)
        unused = set(told)
        for command in chosen:
            typed = command
            for open_, filled in told.items():
                unused -= {open_} if open_ in typed else set()
                typed = typed.replace(open_, filled)
            printed[command.strip()] = self.type(typed.strip(), stdin)
        assert unused == set(), f"Expected {heading!r} to say {unused}."
        return printed

    def type(self, command: str, stdin: str = "") -> str:
        """What a command prints, which has to succeed."""
        if cd := re.fullmatch(r"cd (\S+)", command):
            self.cwd = cd[1]
            return ""
        if export := re.fullmatch(r"export (\w+)=(\S+)", command):
            self.variables[export[1]] = export[2]
            return ""
        began, installs = time.monotonic(), command == "make install"
        cache = {"UV_CACHE_DIR": "/var/cache/uv", "UV_LINK_MODE": "symlink"} if installs and UV_CACHE.exists() else {}
        done = self.machine.run(
            command, cwd=self.cwd, network=installs, variables={**self.variables, **cache}, stdin=stdin
        )
        print(f"# {command}\n{done.stdout}({time.monotonic() - began:.0f} s)", flush=True)
        if SERVER_STARTS.match(command):
            self.wait(f"{SERVER}/api/health", "200")
        return done.stdout

    def wait(self, url: str, code: str) -> None:
        """Until an address answers with a status; the page says that it is not at once."""
        asked = f"for _ in $(seq 240); do test \"$(curl -so /dev/null -w '%{{http_code}}' {url})\" = {code} && exit; sleep 1; done; "
        self.machine.run(f"{asked} tail -n 40 /var/log/pixelmill-*.log; exit 1")

    def ask(self, what: str, of: object) -> list[dict[str, object]]:
        """What the server's API says."""
        asked = f"curl -s -H 'Content-Type: application/json' -d '{json.dumps(of)}' {SERVER}/api/{what}/filter"
        found: list[dict[str, object]] = json.loads(self.machine.run(asked).stdout)
        return found

    def night(self) -> dict[str, int]:
        """A run of `nightly` to its end: the counts that its report has."""
        self.type(f"{NIGHT} --watch")
        report = json.loads(self.type("runuser --user pixelmill -- .venv/bin/pixelmill report /srv/pixelmill --json"))
        (model,) = report["models"].values()
        return {"seen": report["images"]["seen"], "embedded": model["embedded"], "pending": model["pending"]}

    def settle(self, lines: str) -> None:
        """Give pixelmill.toml the keys of a table as the page shows them, and whole tables of an array at the end."""
        table, _, arrays = lines.partition("\n\n")
        settings = self.read(SETTINGS)
        for line in table.splitlines()[1:]:
            settings, found = re.subn(rf"^(# )?{line.split()[0]} = .*$", line, settings, count=1, flags=re.MULTILINE)
            assert found, line
        self.write(SETTINGS, f"{settings}\n{arrays}\n")

    def read(self, place: str) -> str:
        return self.machine.path(place).read_text()

    def write(self, place: str, text: str) -> None:
        self.machine.path(place).write_text(text)


@pytest.fixture
def operator() -> Iterator[Operator]:
    """At a machine with the commits of this checkout, pictures, and a stand-in for systemctl."""
    if reason := why_not():
        pytest.skip(reason)
    if not postgres_programs() or not shutil.which("systemd-analyze"):
        pytest.skip("Expected Postgres and systemd-analyze (Debian: postgresql, systemd).")
    with BareRoot({ROOT: CHECKOUT, **({UV_CACHE: "/var/cache/uv"} if UV_CACHE.exists() else {})}) as machine:
        machine.run("rm -rf /opt/pixelmill /etc/pixelmill /srv/* /var/lib/pixelmill ~/.prefect ~/.cache/pixelmill")
        machine.run(f"git clone --quiet --no-hardlinks {CHECKOUT} /srv/upstream")
        here = "git ls-files -z --cached --others --exclude-standard | tar --null -T - -c --ignore-failed-read"
        machine.run(f"cd {CHECKOUT} && {here} | tar -C /srv/upstream -x")
        commit(machine, "As it is here")
        machine.run(f"cp -r {CHECKOUT}/examples/images /srv/photos")
        machine.run(f"install --mode=755 {CHECKOUT}/tests/support/systemctl.py /usr/local/sbin/systemctl")
        yield Operator(machine)


def commit(machine: BareRoot, message: str) -> None:
    by = "git -c user.name=tests -c user.email=tests@localhost"
    machine.run(f"cd /srv/upstream && git add --all && {by} commit --quiet --allow-empty --message '{message}'")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_page_from_top_to_bottom(operator: Operator) -> None:
    """A service user, units, a server, its set-up and a night; notification, gallery, GPU worker; a backup and what is
    restored from it, with SQLite and with Postgres; an upgrade, and the commands of the morning."""
    first_deployment(operator)
    notification(operator)
    gallery(operator)
    gpu(operator)
    backup_and_restore(operator)
    postgres(operator)
    upgrade(operator)
    day_after(operator)


def first_deployment(operator: Operator) -> None:
    page = commands(PAGE.read_text(), "First deployment")
    copied = next(command for command in page if command.startswith("cp examples/pixelmill.toml"))
    # The page says in words what is to be set: here by a command that is added to the one before.
    settings = (
        "&& sed -i -e 's|^sources = .*|sources = [\"/srv/photos\"]|' -e 's|^store = .*|store = \"/srv/pixelmill\"|' "
        "-e 's|^precision = .*|precision = \"float32\"|' pixelmill.toml"
    )
    printed = operator.follow(
        "First deployment",
        {"git clone … ": "git clone /srv/upstream ", copied.strip(): f"{copied.strip()} {settings}"},
    )
    assert f"A run would embed {IMAGES} of {IMAGES} images." in "".join(printed.values())
    assert "Pools, queues, deployments and automations are on" in "".join(printed.values())
    assert f"{IMAGES} new images" in printed[".venv/bin/pixelmill report /srv/pixelmill"]
    assert operator.type("systemd-analyze verify /etc/systemd/system/pixelmill-*.service") == ""
    owners = operator.type(f"stat --format=%U /srv/pixelmill/vectors.h5 {DATABASE}")
    assert owners.split() == ["pixelmill", "pixelmill"]


def notification(operator: Operator) -> None:
    make, *rest, digest = commands(PAGE.read_text(), "Be told")
    assert "digest/digest" in digest, "it needs a service that takes it: tests/flows/test_digest.py has one"
    block_id = operator.type(make.strip().replace("https://…", "http://127.0.0.1:9")).split()[-1]
    assert len(rest) == 2
    for command in rest:
        operator.type(command.strip().replace("the id", block_id))
    assert len(operator.ask("automations", {})) > 1


def gallery(operator: Operator) -> None:
    start, restart = commands(PAGE.read_text(), "Show the gallery")
    operator.type(start.strip())
    operator.wait("http://127.0.0.1:8000/", "200")
    operator.write("/etc/pixelmill/gallery.env", block("Show the gallery", ""))
    operator.settle(block("Show the gallery", "toml"))
    operator.type(restart.strip())
    operator.wait("http://127.0.0.1:8000/api/store", "401")
    by_others = operator.machine.run(f"runuser --user nobody -- cat {DATABASE}", check=False)
    assert "Permission denied" in by_others.stdout, "what Prefect keeps is for its user alone, once a unit was started"


def gpu(operator: Operator) -> None:
    before = operator.read(SETTINGS)
    operator.settle(block("Add a GPU", "toml"))
    printed = operator.follow("Add a GPU")
    assert "gpu0" in printed[".venv/bin/prefect work-queue ls --pool gpu"]
    operator.type("systemctl stop pixelmill-worker-gpu@0")
    operator.write(SETTINGS, before)


def backup_and_restore(operator: Operator) -> None:
    """What came after the backup is embedded once more; nothing else is, and Prefect knows its runs again."""
    operator.follow("Back up")
    later(operator)
    operator.follow("Restore")
    assert operator.night() == {"seen": IMAGES + 1, "embedded": 1, "pending": 0}
    assert len(nights(operator)) == 2


def later(operator: Operator) -> None:
    """A picture comes, and a night after the backup; then the disk of the store is lost."""
    operator.type("cp /opt/pixelmill/docs/gallery-map.webp /srv/photos/later.webp")
    assert operator.night()["embedded"] == 1
    operator.type("rm -rf /srv/pixelmill/parts")


def nights(operator: Operator) -> list[dict[str, object]]:
    return operator.ask(
        "flow_runs",
        {"flows": {"name": {"any_": ["vectorize"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}},
    )


def postgres(operator: Operator) -> None:
    """Prefect begins anew there, the worker goes on by itself, and pg_dump brings back what it holds."""
    cluster = operator.type("pg_lsclusters --no-header").split()
    operator.write("/etc/pixelmill/prefect.env", database_line())
    operator.follow(
        "Move to Postgres",
        {"apt-get install postgresql": f"pg_ctlcluster {cluster[0]} {cluster[1]} start"},
        stdin=f"{PASSWORD}\n" * 2,
    )
    assert operator.night()["embedded"] == 0
    assert len(nights(operator)) == 1
    operator.follow("Back up", without="prefect.db")
    operator.follow("Back up Postgres")
    assert operator.night()["embedded"] == 0
    operator.type("rm -rf /srv/pixelmill.broken")
    restore = commands(PAGE.read_text(), "Restore")
    (load,) = commands(PAGE.read_text(), "Restore Postgres")
    at = next(i for i, command in enumerate(restore) if "prefect.db" in command)
    lines = [command for command in restore if "prefect.db" not in command]
    for command in [*lines[:at], load, *lines[at:]]:
        operator.type(command.strip())
    assert len(nights(operator)) == 1, "the one before the dump"
    assert operator.night()["embedded"] == 0


def database_line() -> str:
    (line,) = re.findall(r"^    (PREFECT_SERVER_DATABASE_CONNECTION_URL=.+)$", PAGE.read_text(), re.M)
    assert "PASSWORD" in line
    return f"{line.replace('PASSWORD', PASSWORD)}\n"


def upgrade(operator: Operator) -> None:
    """Another commit, with other pins."""
    operator.machine.run("echo '# upgraded' >> /srv/upstream/constraints.txt")
    commit(operator.machine, "Another version")
    printed = operator.follow("Upgrade")
    assert "Sound." in printed["runuser --user pixelmill -- .venv/bin/pixelmill verify /srv/pixelmill"]
    assert "# upgraded" in operator.read("/opt/pixelmill/constraints.txt")
    assert operator.night()["embedded"] == 0


def day_after(operator: Operator) -> None:
    """The list of runs has the ids that the other commands take; a run that waits for its time is cancelled."""
    listed, logs, *rest = (command.strip() for command in commands(PAGE.read_text(), "The morning after"))
    (cancel,) = (command for command in rest if "cancel" in command)
    last = RUN_ID.findall(operator.type(listed))[0]
    assert "Nothing new. All 33 images are embedded" in operator.type(logs.replace("ID", last))
    for command in rest:
        if command != cancel:
            operator.type(command)
    (waiting,) = RUN_ID.findall(operator.type(f"{NIGHT} --start-in '1 hour'").partition("URL")[0])
    operator.type(cancel.replace("ID", waiting))
    (found,) = operator.ask("flow_runs", {"flow_runs": {"id": {"any_": [waiting]}}})
    assert found["state_name"] == "Cancelled"
