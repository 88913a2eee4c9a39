"""The morning after: installed as their first lines say, the automations that are shipped fire, on a server that
set_up.py has set up. Each night is told once, what comes after it runs, and what has landed is embedded.

With SCREENSHOTS=docs, the picture of a mail in docs/ is made again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from deployments.ui import shipped_variables
from flows._ends import WITH_WARNINGS
from pixelmill.store.reader import Store
from tests.conftest import SavePicture
from tests.support.chromium import CHROMIUM, SCREENSHOTS
from tests.support.notified import mails, posts
from tests.support.prefect_server import ROOT, PrefectServer, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(prefect.__version__ < "3.9", reason="On SQLite, 3.8 starts some twice and others not at all."),
]
AUTOMATIONS = ROOT / "deployments" / "automations"
WATCH = ROOT / "deployments" / "systemd" / "pixelmill-watch@.service"
MODEL, NOWHERE = "efficientnet_lite0", "resnet18"
GALLERY = "http://millhouse:8000"
SECONDS = 600
"""For a run to be taken and to end, on a machine that is busy."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where images and store are. In the picture of the documentation, it says nothing of this machine."""
    if SCREENSHOTS is None:
        yield tmp_path_factory.mktemp("morning")
        return
    folder = Path(tempfile.gettempdir(), "archive")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def posted() -> Iterator[list[tuple[str, Any]]]:
    """What has been posted, behind the address of where to."""
    with posts() as (address, posted):
        posted.append(("address", address.replace("http", "json")))
        yield posted


@pytest.fixture(scope="module")
def server(
    folder: Path, posted: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """Set up as docs/operations.md says, with a worker, the notification block of the templates, and the templates."""
    home = tmp_path_factory.mktemp("prefect")
    settings = home / "pixelmill.toml"
    settings.write_text(
        f'[run]\nstore = "{folder}/store"\nmodels = ["{MODEL}"]\nprecision = "float32"\n'
        f'[weights]\noffline = true\ncache_dir = "{home}/cache"\n[web]\nurl = "{GALLERY}"'
    )
    with ExitStack() as stack:
        variables = shipped_variables() | {"PIXELMILL_CONFIG": str(settings)}
        server = stack.enter_context(PrefectServer(home / "home", **variables))
        subprocess.run([sys.executable, "deployments/set_up.py"], cwd=ROOT, env=server.env, check=True)
        stack.enter_context(server.used())
        SlackWebhook(url=f"{posted[0][1]}/nights").save("nights")
        for name in ("digest", "after-night", "on-new-vectors", "on-new-files"):
            install(server, name)
        stack.enter_context(server.worker("cpu"))
        yield server


def install(server: PrefectServer, name: str) -> None:
    """As the first lines of the template say; a minute is ten seconds here."""
    text = (AUTOMATIONS / f"{name}.yaml").read_text()
    (command,) = re.findall(r"^#   prefect (deployment inspect .+)$", text, re.MULTILINE)
    first = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", server.prefect(*command.split()))
    assert first
    file = server.home / f"{name}.yaml"
    file.write_text(text.replace(": FILL-IN", f": {first[0]}").replace("within: 60", "within: 10"))
    server.prefect("automation", "create", "--from-file", str(file))


def start(name: str, **parameters: Any) -> UUID:
    return UUID(str(run_deployment(name, parameters=parameters, timeout=0).id))  # type: ignore[union-attr]


def started_by(automation: str) -> list[Any]:
    """The runs that an automation has started, the first one first."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
    mine = [run for run in runs if run.created_by and run.created_by.display_value == automation]
    return sorted(mine, key=lambda run: run.created)


def ended(automation: str, count: int) -> list[Any]:
    """The runs that an automation has started, once there are so many and all are over."""

    def over() -> list[Any] | None:
        runs = started_by(automation)
        return runs if len(runs) >= count and all(run.state.is_final() for run in runs) else None

    return wait_until(over, SECONDS, f"{count} runs that the automation {automation!r} started to be over")


@pytest.fixture(scope="module")
def nights(server: PrefectServer, folder: Path, posted: list[tuple[str, Any]]) -> dict[str, UUID]:
    """A night that is good, one whose source has gone, one that fails: by the names of their states, told and followed."""
    photos, scans = folder / "photos", folder / "scans"
    shutil.copytree(ROOT / "examples" / "images", photos)
    scans.mkdir()
    Image.new("RGB", (80, 60), (20, 90, 160)).save(scans / "a.png")
    nights = {}
    for state in ("Completed", WITH_WARNINGS, "Failed"):
        failing = {"models": [NOWHERE]} if state == "Failed" else {}
        nights[state] = start("vectorize/nightly", sources=[str(photos), str(scans)], **failing)
        assert server.wait_for(nights[state], seconds=SECONDS).name == state
        (scans / "a.png").unlink(missing_ok=True)
    ended("Digest of the night", 3)
    ended("After the night", 2)
    return nights


def test_each_night_is_told_once(nights: dict[str, UUID], posted: list[tuple[str, Any]]) -> None:
    """Good or bad: its state and headline, what became of the models, where it is shown."""
    told = {body["title"].split(".")[0]: body for _, body in posted[1:]}
    assert [path for path, _ in posted[1:]] == ["/nights"] * 3
    assert list(told) == [f"Pixelmill: {state}" for state in nights]
    colours = {"Completed": "success", WITH_WARNINGS: "warning", "Failed": "failure"}
    for state, run in nights.items():
        body = told[f"Pixelmill: {state}"]
        assert body["type"] == colours[state]
        assert f"/runs/flow-run/{run}" in body["message"]
        assert f"The gallery: {GALLERY}" in body["message"]
    good, warned, failed = told.values()
    assert re.fullmatch(r"Pixelmill: Completed\. \d+ new images.*\d+ vectors made in .+\.", good["title"])
    assert f"- {MODEL}: " in good["message"]
    assert "the source is empty" in warned["message"]
    assert "this run is offline" in failed["message"]


def test_a_good_night_is_told_with_its_pictures(nights: dict[str, UUID], posted: list[tuple[str, Any]]) -> None:
    """The contact sheet of what is new, as every program shows it."""
    pictures = {each["filename"]: b64decode(each["base64"]) for each in posted[1][1]["attachments"]}
    with Image.open(BytesIO(pictures["new-images.jpg"])) as sheet:
        assert (sheet.format, sheet.width > 200) == ("JPEG", True)


def test_what_comes_after_a_night_runs_once(nights: dict[str, UUID]) -> None:
    """After the good one and after the one with warnings, and not after the one that failed."""
    after = ended("After the night", 2)
    assert [run.state.name for run in after] == ["Completed", "Completed"]
    assert [run.parameters for run in after] == [{}, {}]


def test_a_matrix_that_has_changed_is_indexed(nights: dict[str, UUID], folder: Path) -> None:
    """Once, by the event of its asset, which says which store and which matrix: one night of the three changed it."""
    (run,) = ended("New vectors", 1)
    assert run.parameters == {"store": f"{folder}/store", "models": Store(folder / "store").models}
    assert run.state.name == "Completed"


@pytest.mark.skipif(CHROMIUM is None, reason="Expected chromium, of Debian's package of that name. Found none.")
def test_a_mail_shows_the_pictures(server: PrefectServer, nights: dict[str, UUID]) -> None:
    """The digest of a night by mail, as a browser renders it: headline, links, and the pictures below."""
    with mails() as (address, mailed):
        SlackWebhook(url=f"{address}?from=pixelmill@localhost&to=you@localhost&inline=yes").save("mail")
        digest = start("digest/digest", block="slack-webhook/mail", run=str(nights["Completed"]))
        assert server.wait_for(digest, seconds=SECONDS).name == "Completed"
    (mail,) = mailed
    html = mail.get_body(("html",)).get_content()
    parts = {part.get_filename(): part for part in mail.walk() if part.get_filename()}
    for name, part in parts.items():
        content = b64encode(part.get_payload(decode=True)).decode()
        html = html.replace(f"cid:{name}", f"data:{part.get_content_type()};base64,{content}")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM) as browser:
        page = browser.new_page(viewport={"width": 760, "height": 400})
        page.set_content(html)
        widths = page.locator("img").evaluate_all("all => all.map((one) => one.naturalWidth)")
        links = page.get_by_role("link").evaluate_all("all => all.map((one) => one.href)")
        if SCREENSHOTS is not None:
            take_picture(page, SCREENSHOTS / "digest.png")
        titles = page.get_by_role("heading", level=3).all_inner_texts()
    assert titles == ["New images", "Nearest neighbours"]
    assert len(widths) == len(parts) == len(titles)
    assert all(widths)
    assert [link.rstrip("/") for link in links] == [f"{server.url[:-4]}/runs/flow-run/{nights['Completed']}", GALLERY]


def take_picture(page: Page, file: Path) -> None:
    """The whole page into the documentation: in 96 colours, a sixth of the size."""
    page.screenshot(path=file, full_page=True)
    picture = Image.open(file).convert("RGB")
    picture = picture.resize((picture.width * 4 // 5, picture.height * 4 // 5), Image.Resampling.LANCZOS)
    picture.quantize(96, dither=Image.Dither.NONE).save(file, optimize=True)


def command_of(way: str, folder: Path, address: str) -> list[str]:
    """What tells of new files in a folder: as the template has it for /photos/in, as systemd's unit has it."""
    if way == "systemd":
        (line,) = re.findall(r"^ExecStart=/opt/pixelmill/.venv/bin/(.+)$", WATCH.read_text(), re.MULTILINE)
        return shlex.split(line.replace("%f", str(folder)))
    lines = [line.removeprefix("# ") for line in (AUTOMATIONS / "on-new-files.yaml").read_text().splitlines()]
    (command,) = re.findall(rf"^  ({way} .+?}}\]?')$", "\n".join(lines), re.MULTILINE | re.DOTALL)
    return ["bash", "-c", command.replace("/photos/in", str(folder)).replace("http://127.0.0.1:4200", address)]


def test_what_landed_is_embedded(server: PrefectServer, tmp_path: Path, save_picture: SavePicture) -> None:
    """Told by each way that there is: a run a folder, however many words there were, and the next word is the next run."""
    env = server.env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    folders = {way: tmp_path / f"in-{way}" for way in ("prefect", "systemd", "curl")}

    def say(way: str) -> None:
        command = command_of(way, folders[way], server.url.removesuffix("/api"))
        subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, timeout=120)

    for seed, (way, folder) in enumerate(folders.items()):
        save_picture(folder / "a.png", seed)
        say(way)
    for _ in range(3):
        say("curl")
    ended("New files", len(folders))
    save_picture(folders["curl"] / "b.png", len(folders))
    say("curl")
    runs = ended("New files", len(folders) + 1)
    told = [run.parameters["sources"] for run in runs[:-1]]
    assert sorted(told) == sorted([str(folder)] for folder in folders.values())
    assert runs[-1].parameters == {"sources": [str(folders["curl"])]}
    assert [run.state.message for run in runs] == ["1 new, 1 embedded."] * len(runs)
