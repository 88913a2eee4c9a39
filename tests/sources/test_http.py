"""Images at http(s) addresses: read once, told apart by what the server says, and nothing it says is believed."""

from __future__ import annotations

import gzip
import io
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest

from pixelmill.embedding.reader import READS_AT_ONCE
from pixelmill.errors import SourceError
from pixelmill.run.job import Job
from pixelmill.run.scan import scan_sources
from pixelmill.sources import http, limits
from pixelmill.sources.address import checked_address
from pixelmill.sources.discover import discover
from pixelmill.sources.files import FileChanged
from pixelmill.sources.found import found_at
from pixelmill.sources.limits import wanted_wait
from pixelmill.sources.reading import read_image
from pixelmill.sources.source import parse_source
from pixelmill.store.commit import StoreWriter
from pixelmill.store.ledger import Ledger
from pixelmill.store.verify import verify
from tests.sources.conftest import Run, places
from tests.support.archives import content, pack_tar
from tests.support.image_server import Faults, ImageServer


@pytest.fixture
def listed(web: ImageServer, tmp_path: Path) -> str:
    """A list of six addresses; the pictures at them."""
    for number in range(6):
        web.files[f"/photos/{number}.png"] = content(number)
    lines = [f"{web.url}{path}" for path in web.files]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return f"@{tmp_path / 'list.txt'}"


def test_a_second_run_reads_nothing(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """All are embedded under their addresses; the next run asks for each what it has become, and reads none."""
    assert go(listed)[0] == 6
    assert places(job) == {f"{web.url}/photos/{number}.png" for number in range(6)}
    assert sorted(web.reads()) == sorted(web.files)
    web.requests.clear()
    calls, report = go(listed)
    assert (calls, report.images.seen, report.images.new) == (0, 6, 0)
    sample = set(web.reads())  # the self-check of a run that adds nothing reads nothing either
    assert sample == set()
    assert {path for _, path in web.requests} == set(web.files)
    assert verify(job.store) == []


def test_what_changed_alone_is_read(go: Run, web: ImageServer, listed: str) -> None:
    """Another etag of the same length is a change, and a vanished file a removal; the rest stays unread."""
    go(listed)
    web.files["/photos/2.png"] = content(2)[:-1] + b"\x00"
    web.files["/photos/3.png"] = content(33)
    del web.files["/photos/4.png"]
    web.requests.clear()
    calls, report = go(listed)
    assert calls == 2
    assert (report.images.changed, report.images.removed) == (2, 1)
    assert {"/photos/2.png", "/photos/3.png"} <= set(web.reads())


def test_a_list_at_an_address(go: Run, job: Job, web: ImageServer) -> None:
    """Names in it are those of files beside it, as with a list on a disk; a file given twice is one."""
    web.files = {"/a/one.png": content(1), "/b/two.png": content(2)}
    web.files["/a/list.txt"] = f"\ufeffone.png\n# a note\n\n../b/two.png\n{web.url}/b/two.png\n".encode()
    assert go(f"@{web.url}/a/list.txt", f"{web.url}/a/one.png")[0] == 2
    assert places(job) == {f"{web.url}/a/one.png", f"{web.url}/b/two.png"}


def test_a_server_that_is_down_loses_nothing(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """Images at a server that answers with errors stay as they are on record, and the report says which."""
    go(listed)
    for path in web.files:
        web.faults[path] = Faults(statuses=[503] * 9)
    _, report = go(listed)
    assert report.images.removed == 0
    assert len(places(job)) == 6
    assert any("the server answered 503" in warning for warning in report.warnings)
    web.faults.clear()
    assert go(listed)[1].images.seen == 6


def test_a_broken_transfer_is_taken_up_again(go: Run, web: ImageServer, listed: str) -> None:
    """A transfer that breaks off, and an error that passes, cost a second request in the same run."""
    web.faults["/photos/1.png"] = Faults(cuts=[40])
    web.faults["/photos/2.png"] = Faults(statuses=[200, 502])
    calls, report = go(listed)
    assert (calls, report.images.quarantined) == (6, 0)
    assert web.reads().count("/photos/1.png") == 2


def test_what_stays_broken_waits_for_the_next_run(
    go: Run, job: Job, web: ImageServer, listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off again and again, or stalled: none is refused for good, none stored. One that is whole, and of another
    length than an answer to HEAD announces, is taken."""
    monkeypatch.setattr(http, "_SILENT_SECONDS", 0.3)
    http._clients.clear()
    web.faults["/photos/1.png"] = Faults(cuts=[40] * 9)
    web.faults["/photos/2.png"] = Faults(stall=1.0)
    web.faults["/photos/3.png"] = Faults(length=len(content(3)) + 7)
    calls, report = go(listed)
    assert (calls, report.images.quarantined, report.models["one"].pending) == (4, 0, 2)
    for name, reason in [("1.png", "peer closed"), ("2.png", "stalled")]:
        assert any(name in warning and reason in warning for warning in report.warnings), (name, report.warnings)
    assert len(places(job)) == 4
    web.faults.clear()
    http._clients.clear()
    assert go(listed)[0] == 2
    assert len(places(job)) == 6


def test_an_error_page_is_no_picture(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """HTML with status 200, half a picture and an empty one are in quarantine, under their addresses, with a reason."""
    web.files["/photos/1.png"] = b"<!doctype html><title>Please log in</title>"
    web.files["/photos/2.png"] = content(2)[:60]
    web.files["/photos/3.png"] = b""
    assert go(listed)[0] == 3
    with Ledger(job.store) as ledger:
        reasons = {entry.path: entry.reason for entry in ledger.quarantine.entries()}
    assert "HTML" in reasons[f"{web.url}/photos/1.png"]
    assert "cut off" in reasons[f"{web.url}/photos/2.png"]
    assert "empty" in reasons[f"{web.url}/photos/3.png"]
    web.requests.clear()
    assert go(listed)[0] == 0
    assert web.reads() == []


def test_a_body_without_end_is_given_up(go: Run, job: Job, web: ImageServer) -> None:
    """No more than one byte over the limit is taken of a file whose length nobody says."""
    web.files["/big.png"] = b"\x89PNG" + b"\0" * 5_000_000
    web.faults["/big.png"] = Faults(says_length=False)
    go(f"{web.url}/big.png")
    with Ledger(job.store) as ledger:
        (entry,) = ledger.quarantine.entries()
    assert "at most 1,000,000 bytes" in entry.reason
    web.faults["/big.png"] = Faults()
    web.requests.clear()
    go(f"{web.url}/big.png")
    assert web.reads() == [], "a length that is too large is reason enough"


@pytest.mark.parametrize(
    "faults",
    [Faults(head_status=405), Faults(etag=False), Faults(says_length=False), Faults(etag=False, says_length=False)],
)
def test_servers_that_say_little(go: Run, web: ImageServer, faults: Faults) -> None:
    """Without HEAD, etag or length an image is embedded all the same, and not again the next night."""
    web.files["/a.png"] = content(1)
    web.faults["/a.png"] = faults
    assert go(f"{web.url}/a.png")[0] == 1
    assert go(f"{web.url}/a.png")[0] == 0


@pytest.mark.parametrize("said", [400, 401, 403, 404, 405, 410, 500, 501, 0])
def test_servers_that_deny_at_head_what_they_give(
    go: Run, job: Job, web: ImageServer, tmp_path: Path, said: int
) -> None:
    """Whatever HEAD is answered with, or if the server hangs up, a file and an archive that GET gets are embedded, and
    the next run finds them as they were."""
    pack_tar(tmp_path / "packed", {"b.png": content(2)})
    web.files = {"/a.png": content(1), "/a.tar": (tmp_path / "packed").read_bytes()}
    web.faults = dict.fromkeys(web.files, Faults(head_status=said))
    sources = [web.url + path for path in web.files]
    assert go(*sources)[0] == 2
    calls, report = go(*sources)
    assert (calls, report.images.seen, report.images.changed) == (0, 2, 0)


@pytest.mark.parametrize("length", [1, 7, 10**6])
def test_servers_that_announce_another_length(go: Run, job: Job, web: ImageServer, tmp_path: Path, length: int) -> None:
    """A picture, and an archive, whose HEAD tells of fewer or more bytes than come, whole, are what comes."""
    pack_tar(tmp_path / "packed", {"b.png": content(2), "c.png": content(3)})
    web.files = {"/a.png": content(1), "/a.tar": (tmp_path / "packed").read_bytes()}
    web.faults = {path: Faults(length=length) for path in web.files}
    calls, report = go(*(web.url + path for path in web.files))
    assert (calls, report.images.quarantined, report.models["one"].pending) == (3, 0, 0)


def test_a_file_that_changes_while_it_is_read(go: Run, web: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another length than the one listed, with another etag, is not taken for what was listed."""
    web.files["/a.png"] = content(1)
    (found,) = discover([f"{web.url}/a.png"])
    web.files["/a.png"] = content(2) + b"more"
    with pytest.raises(FileChanged, match="announced"):
        read_image(found, max_bytes=10**6)


@pytest.mark.parametrize("faults", [Faults(chunked=True), Faults(content_type="text/html"), Faults(says_length=False)])
def test_what_headers_say_of_a_picture_does_not_matter(
    go: Run, web: ImageServer, tmp_path: Path, faults: Faults
) -> None:
    """In pieces without a length, as text, to the end of the connection; also behind a redirection; an archive too."""
    pack_tar(tmp_path / "packed", {"b.png": content(2), "c.png": content(3)})
    web.files = {"/a": content(1), "/a.tar": (tmp_path / "packed").read_bytes(), "/there": b""}
    web.faults = {**dict.fromkeys(web.files, faults), "/there": Faults(location="/a")}
    calls, report = go(f"{web.url}/there", f"{web.url}/a.tar")
    assert (calls, report.images.quarantined, report.images.seen) == (3, 0, 3)


class Window:
    """Lets `most` requests through, and refuses for a second then: a server that limits its rate."""

    def __init__(self, most: int, status: int, headers: dict[str, str]) -> None:
        self.most, self.status, self.headers = most, status, headers
        self.passed = self.refused = 0
        self.until, self.guard = 0.0, threading.Lock()

    def __call__(self) -> tuple[int, dict[str, str]] | None:
        with self.guard:
            if time.time() >= self.until and self.passed < self.most:
                self.passed += 1
                return None
            self.refused += 1
            if time.time() >= self.until:
                self.until, self.passed = time.time() + 0.9, 0
            return self.status, self.headers


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_limits_its_rate_is_waited_for(
    go: Run, job: Job, web: ImageServer, listed: str, status: int
) -> None:
    """All is embedded in one run, at the pace that the server sets, and it is not stormed: all wait, one asks again."""
    http._clients.clear()
    web.refuse = window = Window(7, status, {"Retry-After": "1"})
    calls, report = go(listed)
    assert (calls, report.models["one"].pending, report.warnings) == (6, 0, ())
    assert window.refused <= 2 + 6, "one a second, and those that were on their way"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Thu, 26 Nov 2026 02:00:09 GMT", "Date": "Thu, 26 Nov 2026 02:00:00 GMT"}, 9.0),
        ({"Retry-After": "Thu, 26 Nov 2020 02:00:09 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "9" * 400}, 999_999_999.0),
        ({}, None),
    ],
)
def test_both_forms_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a date by the server's own clock (RFC 9110, 10.2.3); what is neither says nothing."""
    assert wanted_wait(headers) == seconds


def test_a_server_that_wants_hours_is_not_waited_for(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """What was not read is pending, with the reason, at once; and other servers are not waited for."""
    with ImageServer().running() as other:
        other.files["/good.png"] = content(50)
        http._clients.clear()
        web.refuse = Window(0, 429, {"Retry-After": "7200"})
        start = time.monotonic()
        calls, report = go(listed, f"{other.url}/good.png")
        assert time.monotonic() - start < 5
    assert (calls, report.models["one"].pending, report.images.seen) == (1, 6, 7)
    (told,) = report.warnings
    assert told.startswith("6 of 7 images of ")
    assert "left alone for 7," in told
    http._clients.clear()
    web.refuse = lambda: None
    assert go(listed)[0] == 6


def test_a_server_that_only_refuses_is_given_up(web: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while nothing is waited for; a later answer, and all is as before."""
    web.files["/a.png"] = content(1)
    web.refuse = Window(0, 429, {"Retry-After": "0"})
    monkeypatch.setattr(limits, "PATIENCE", 0.3)
    monkeypatch.setattr(limits, "_LEAST", 0.1)
    files = http.HttpFiles()
    for _ in range(2):
        with pytest.raises(OSError, match="nothing but refusals"):
            files.read(f"{web.url}/a.png", most=10**6)
    web.refuse = lambda: None
    time.sleep(0.1)
    assert files.read(f"{web.url}/a.png", most=10**6) == content(1)


def test_a_list_that_does_not_answer_is_pending(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """Files that could neither be looked at nor read are seen and wait, as the report says; those that are stored are
    as they were, and a run that could look at none of them tells that it failed."""
    web.faults = {f"/photos/{number}.png": Faults(statuses=[503] * 99) for number in (1, 4)}
    calls, report = go(listed)
    assert (calls, report.images.seen, report.models["one"].pending) == (4, 6, 2)
    assert [w.rpartition("/photos/")[2] for w in report.warnings if w.endswith("answered 503")] == [
        f"{number}.png: the server answered 503" for number in (1, 4)
    ]
    assert "2 of 6 images of the files that were named could not be read: the server answered 503." in report.warnings
    web.faults.clear()
    assert go(listed)[0] == 2
    web.faults = {path: Faults(statuses=[503] * 99) for path in web.files}
    calls, report = go(listed)
    assert (calls, report.images.seen, report.images.removed, len(places(job))) == (0, 0, 0, 6)
    with StoreWriter(job.store) as writer:
        scan = scan_sources(writer.ledger, [listed])
    assert "answered 503" in scan.failure


def test_paranoid_reads_no_larger_files_than_a_run(go: Run, job: Job, web: ImageServer, listed: str) -> None:
    """`--paranoid` hashes what lies elsewhere up to `[images] max_bytes`: a larger file is not read, stays as it is on
    record, and the report says so."""
    go(listed)
    web.requests.clear()
    calls, report = go(listed, paranoid=True, max_bytes=10)
    assert (calls, report.images.changed, report.images.removed, len(places(job))) == (0, 0, 0, 6)
    assert sum("hashed again: Expected at most 10 bytes" in warning for warning in report.warnings) == 6
    assert web.reads() == []
    go(listed, paranoid=True)
    assert sorted(web.reads()) == sorted(web.files)


def test_a_source_of_several_that_does_not_answer(go: Run, web: ImageServer) -> None:
    """An address that answers with an error costs itself, and not the run."""
    web.files = {"/a.png": content(1), "/b.png": content(2)}
    web.faults["/b.png"] = Faults(statuses=[503] * 99)
    calls, report = go(f"{web.url}/a.png", f"{web.url}/b.png")
    assert (calls, report.models["one"].pending) == (1, 1)
    with pytest.raises(SourceError, match="no such file"):
        go(f"{web.url}/a.png", f"{web.url}/c.png")


def test_a_compressed_transfer(go: Run, web: ImageServer) -> None:
    """A server that compresses though it was asked not to: the length is that of the transfer, the bytes are right."""
    web.files["/a.png"] = gzip.compress(content(1))
    web.faults["/a.png"] = Faults(encoding="gzip")
    assert go(f"{web.url}/a.png")[0] == 1


def test_images_are_read_at_once(go: Run, web: ImageServer, tmp_path: Path) -> None:
    """A slow server is asked for many images at once, but for no more than that."""
    for number in range(100):
        web.files[f"/{number}.png"] = content(number)
    (tmp_path / "many.txt").write_text("".join(f"{web.url}{path}\n" for path in web.files))
    web.delay = 0.1
    assert go(f"@{tmp_path / 'many.txt'}")[0] == 100
    assert READS_AT_ONCE / 2 < web.most_at_once <= READS_AT_ONCE


def test_a_login_comes_from_netrc(web: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """User and password of a host are sent from the file that NETRC names, and need not be in the address."""
    web.files["/a.png"] = content(1)
    web.login = "Basic bWU6c2VjcmV0"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    http._clients.clear()
    with pytest.raises(SourceError, match="wants a login"):
        parse_source(f"{web.url}/a.png")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    http._clients.clear()
    (found,) = discover([f"{web.url}/a.png"])
    assert read_image(found, max_bytes=10**6) == content(1)
    http._clients.clear()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://me:hunter2@example.org/a.jpg", "without a login"),
        ("https://me@example.org/a.jpg", "without a login"),
        ("https://example.org/a.jpg?X-Amz-Signature=hunter2&x=1", "without a signature"),
        ("https://example.org/a.jpg?sv=1&sig=hunter2", "without a signature"),
        ("https://example.org/a.jpg?token=hunter2", "without a signature"),
        ("s3://key:hunter2@bucket/a", "without a password"),
        ("sftp://me:hun/ter2@host/a", "without a password"),
        ("abfs://c@a/b.jpg?sv=1&sig=hunter2", "without a signature"),
        ("https://example.org/a.jpg;token=hunter2", "without a signature"),
        ("https://example.org/a.jpg?X-API-Key=hunter2", "without a signature"),
        ("https://me:hunter2@example.org/a.tar.gz", "without a login"),
        ("https://example.org?x=1", "HTTP knows no folders"),
        ("dir://x/a.jpg", "by its path"),
        ("github://x/a.jpg", "github"),
        ("https://example.org/caf\udce9.jpg", "UTF-8"),
        ("https://example.org", "HTTP knows no folders"),
        ("https://example.org/photos/", "HTTP knows no folders"),
        ("https:///a.jpg", "HTTP knows no folders"),
        ("https://example.org//a.jpg", "begins with one slash"),
        ("s3:///a.jpg", "a bucket"),
        ("what://example.org/a.jpg", "s3://"),
        ("file:///photos", "by its path"),
        ("zip://a.jpg::s3://bucket/a.zip", "by its own address"),
    ],
)
def test_addresses_that_are_refused(address: str, says: str) -> None:
    """The reason is told, and never a secret."""
    with pytest.raises(SourceError, match=says) as caught:
        parse_source(address)
    assert "hunter2" not in str(caught.value)


def test_a_list_with_secrets_tells_none(go: Run, job: Job, web: ImageServer, tmp_path: Path) -> None:
    """Lines that would let their readers in are told of without that, and not asked for."""
    web.files["/a.png"] = content(1)
    (tmp_path / "list.txt").write_text(
        f"{web.url}/a.png\n{web.url}/b.png?sig=hunter2\nhttp://me:hunter2@127.0.0.1/c.png"
    )
    calls, report = go(f"@{tmp_path / 'list.txt'}")
    assert calls == 1
    assert sum("Expected an address without" in warning for warning in report.warnings) == 2
    assert "hunter2" not in str(report)
    for file in job.store.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://example.org/a/b.jpg", "https://example.org/a"),
        ("https://example.org/image?u=x/y.jpg", "https://example.org"),
        ("s3://bucket/a//b.jpg", "s3://bucket"),
        ("s3://bucket/b.jpg", "s3://bucket"),
        ("s3://photos.tar/b.jpg", "s3://photos.tar"),
        ("s3://bucket/album.zip/b.jpg", "s3://bucket"),
        ("https://example.zip/b.jpg", "https://example.zip"),
    ],
)
def test_an_address_is_put_together_again(address: str, source: str) -> None:
    """Source root and path, with one slash between, are the address, whatever it holds."""
    found = found_at(checked_address(address))
    assert (found.absolute, found.source) == (address, source)


def test_a_server_that_is_down_holds_nobody_up(
    go: Run, job: Job, web: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many failures in a row one question at a time is asked and none waited for; one answer, and all is as
    before. What could not be looked at waits to be read."""
    for number in range(200):
        web.files[f"/{number}.png"] = content(number)
        web.faults[f"/{number}.png"] = Faults(statuses=[503] * 3)
    (tmp_path / "list.txt").write_text("".join(f"{web.url}{path}\n" for path in web.files))
    http._clients.clear()
    waits = list[float]()
    monkeypatch.setattr("pixelmill.sources.retry.DELAYS", (1.0, 4.0))
    monkeypatch.setattr("pixelmill.sources.retry.time.sleep", waits.append)
    found = list(discover([f"@{tmp_path / 'list.txt'}"]))
    assert len(found) == 200
    assert sum(file.size > 0 for file in found) < 32
    assert sum(waits) < 5.0 * 32 + 32 * 5, "not 5 s for each of them"
    assert http.http_files().is_down(web.url + "/0.png")
    web.faults.clear()
    assert sum(file.size > 0 for file in discover([f"@{tmp_path / 'list.txt'}"])) > 100
    assert not http.http_files().is_down(web.url + "/0.png")


def test_lines_that_no_list_should_have(go: Run, job: Job, web: ImageServer, tmp_path: Path) -> None:
    """Broken, foreign and odd lines cost themselves, and names are those of files, whatever marks they hold."""
    web.files = {"/a/a%231.png": content(1), "/a/caf%C3%A9.png": content(2), "/a/b.png?x=1": content(3)}
    odd = ["//[", "http://[", "dir://x/a.jpg", "github://x/a.jpg", "async_wrapper://x/a", "foo://x/y"]
    web.files["/a/list.txt"] = "\n".join(["a#1.png", "café.png", "b.png?x=1", *odd]).encode() + b"\ncaf\xe9.png\n"
    calls, report = go(f"@{web.url}/a/list.txt")
    assert calls == 3
    assert len(report.warnings) >= len(odd)
    (tmp_path / "list.txt").write_bytes(f"{web.url}/a/caf".encode() + b"\xe9.png\n" + f"{web.url}/a/b.png?x=1".encode())
    assert go(f"@{tmp_path / 'list.txt'}")[1].images.seen == 1


@pytest.mark.parametrize("modified", ["Thu, 26 Nov 9999 23:00:00 GMT", "Thu, 26 Nov 99999999999 02:00:00 GMT", "never"])
def test_numbers_that_are_none(go: Run, web: ImageServer, modified: str) -> None:
    """A length and a time that no file has are not known, and no reason to stop."""
    web.files["/a.png"] = content(1)
    web.modified = modified
    web.faults["/a.png"] = Faults(length=2**63)
    assert go(f"{web.url}/a.png")[0] == 1


def test_proxies_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "what://127.0.0.1:1")
    http._clients.clear()
    with pytest.raises(SourceError, match="ALL_PROXY"):
        parse_source("http://127.0.0.1:1/a.jpg")
    http._clients.clear()


def test_nothing_is_written_to_the_disk(
    go: Run, web: ImageServer, listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the store nor the folder for temporary files holds the bytes of an image, on its own or in an archive."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    written = list[str]()
    real = os.open

    def noticed(path: str, flags: int, *more: int, **how: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            written.append(os.fspath(path))
        return real(path, flags, *more, **how)

    monkeypatch.setattr(os, "open", noticed)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("7.png", content(7))
    web.files["/a.zip"] = packed.getvalue()
    assert go(listed, f"{web.url}/a.zip")[0] == 7
    assert list(scratch.iterdir()) == []
    assert {path for path in written if str(tmp_path / "store") not in path} <= {os.devnull}
    for file in (tmp_path / "store").rglob("*"):
        assert not file.is_file() or not any(data in file.read_bytes() for data in map(content, range(8))), file
