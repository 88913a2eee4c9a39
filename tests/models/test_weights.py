"""The weights cache against a real server that does what real servers do."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
from pathlib import Path

import pytest

from pixelmill.errors import WeightsError, WeightsRefused, WeightsUnavailable
from pixelmill.models.base import WeightsSource
from pixelmill.models.weights import WeightsCache
from tests.support.checkpoints import path_under
from tests.support.server import WeightsServer

BODY = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()
PLAIN = WeightsSource("https://download.pytorch.org/models/one.pth", sha256=SHA256)
PREFIX = WeightsSource(PLAIN.url, sha256=SHA256[:8])
HUB = WeightsSource("https://huggingface.co/some/repo/resolve/main/model.safetensors")


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """The folder behind the server, with one file on each host."""
    folder = tmp_path / "upstream"
    for url in (PLAIN.url, HUB.url):
        path_under(folder, url).write_bytes(BODY)
    return folder


@pytest.fixture
def server(upstream: Path):  # type: ignore[no-untyped-def]
    with WeightsServer(upstream).running() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, server: WeightsServer) -> WeightsCache:
    return WeightsCache(tmp_path / "cache", mirrors={"*": server.url}, timeout=2.0)


class TestFetch:
    def test_it_is_fetched_once(self, cache: WeightsCache, server: WeightsServer) -> None:
        """The second fetch asks nothing of the server."""
        seen: list[tuple[int, int | None]] = []
        assert cache.cached(PLAIN) is None
        first = cache.fetch(PLAIN, progress=lambda done, total: seen.append((done, total)))
        assert first.path.read_bytes() == BODY
        assert first.sha256 == SHA256
        assert cache.fetch(PLAIN) == first == cache.cached(PLAIN)
        assert server.transfers == 1
        assert seen[-1] == (len(BODY), len(BODY))

    def test_nothing_else_is_left(self, cache: WeightsCache) -> None:
        """Beside the file lie its record and its lock, no partial file."""
        folder = cache.fetch(PLAIN).path.parent
        assert {p.name for p in folder.iterdir()} <= {"one.pth", "one.pth.json", "one.pth.lock"}

    def test_an_unchanged_file_is_not_hashed_again(self, cache: WeightsCache, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file whose size, inode and times are those of the record is trusted; a touched one is hashed again."""
        hashed: list[Path] = []
        real = cache.fetch(PLAIN).path

        def spy(path: Path) -> str:
            hashed.append(path)
            return hashlib.sha256(path.read_bytes()).hexdigest()

        monkeypatch.setattr("pixelmill.models.weights.sha256_of", spy)
        assert cache.cached(PLAIN)
        assert hashed == []
        os.utime(real)
        assert cache.cached(PLAIN)
        assert hashed == [real]
        assert cache.cached(PLAIN)
        assert hashed == [real]

    @pytest.mark.parametrize("count", [2, 10])
    def test_processes_at_once_download_once(self, cache: WeightsCache, server: WeightsServer, count: int) -> None:
        """Two or ten processes that want one file at the same moment make one transfer, and all get it."""
        server.behaviour.delay = 0.3
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        workers = [context.Process(target=_fetch_into, args=(cache, queue)) for _ in range(count)]
        for worker in workers:
            worker.start()
        found = [queue.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
        assert found == [SHA256] * count
        assert server.transfers == 1

    def test_a_published_prefix_is_checked(self, cache: WeightsCache, server: WeightsServer) -> None:
        """torchvision publishes eight digits: they must fit, and the whole digest is kept from then on."""
        assert cache.fetch(PREFIX).sha256 == SHA256
        with pytest.raises(WeightsRefused, match="00000000"):
            cache.fetch(WeightsSource(PREFIX.url, sha256="00000000"))

    def test_the_second_choice_is_asked_for_only_if_the_first_is_not_there(
        self, cache: WeightsCache, server: WeightsServer, upstream: Path
    ) -> None:
        """404 for the safetensors leads to the `.bin`; a server in trouble does not."""
        source = WeightsSource("https://huggingface.co/a/b/resolve/main/x.safetensors", alternative=HUB.url)
        assert cache.fetch(source).path == cache.path_of(HUB)
        assert cache.cached(source) is not None
        cache.path_of(HUB).unlink()
        server.behaviour.status = 503
        before = len(server.requests)
        with pytest.raises(WeightsUnavailable):
            cache.fetch(source)
        assert len(server.requests) == before + 1


def _fetch_into(cache: WeightsCache, queue: multiprocessing.Queue[str]) -> None:
    queue.put(cache.fetch(PLAIN).sha256)


class TestTransfer:
    def test_a_cut_off_transfer_goes_on_where_it_stopped(self, cache: WeightsCache, server: WeightsServer) -> None:
        """Cut off twice, the file arrives whole, and no byte is sent twice."""
        server.behaviour.cut_after = [700_000, 600_000]
        assert cache.fetch(PLAIN).sha256 == SHA256
        assert [r.range for r in server.requests] == ["", "bytes=700000-", "bytes=1300000-"]

    def test_a_cut_off_file_is_not_cached(self, cache: WeightsCache, server: WeightsServer) -> None:
        """When the line stays dead the fetch fails, retryably, and nothing counts as cached; the next goes on."""
        server.behaviour.cut_after = [700_000, 0]
        with pytest.raises(WeightsUnavailable):
            cache.fetch(PLAIN)
        assert cache.cached(PLAIN) is None
        assert not cache.path_of(PLAIN).exists()
        assert cache.fetch(PLAIN).sha256 == SHA256
        assert server.requests[-1].range == "bytes=700000-"

    def test_a_file_that_changed_meanwhile_is_begun_again(
        self, cache: WeightsCache, server: WeightsServer, upstream: Path
    ) -> None:
        """After a cut-off, another version on the server is taken whole, even where no digest would tell."""
        unpinned = WeightsSource(PLAIN.url)
        server.behaviour.cut_after = [700_000, 0]
        with pytest.raises(WeightsUnavailable):
            cache.fetch(unpinned)
        new = BODY[::-1]
        path_under(upstream, PLAIN.url).write_bytes(new)
        assert cache.fetch(unpinned).path.read_bytes() == new

    def test_a_bad_piece_is_thrown_away(self, cache: WeightsCache, server: WeightsServer) -> None:
        """Rubbish in the partial file, on a server without validators: the digest tells, and the file comes whole."""
        server.behaviour.etag = False
        path = cache.path_of(PLAIN)
        path.parent.mkdir(parents=True)
        path.with_name("one.pth.partial").write_bytes(b"rubbish" * 1000)
        assert cache.fetch(PLAIN).path.read_bytes() == BODY
        assert [r.range for r in server.requests] == ["bytes=7000-", ""]

    @pytest.mark.parametrize("size", [len(BODY), len(BODY) + 5])
    def test_a_piece_as_long_as_the_file_does_not_block_it(
        self, cache: WeightsCache, server: WeightsServer, size: int
    ) -> None:
        """416 Range Not Satisfiable leads to a fresh transfer."""
        path = cache.path_of(PLAIN)
        path.parent.mkdir(parents=True)
        path.with_name("one.pth.partial").write_bytes(b"x" * size)
        assert cache.fetch(PLAIN).path.read_bytes() == BODY

    def test_a_server_without_ranges_sends_it_whole(self, cache: WeightsCache, server: WeightsServer) -> None:
        """A 200 in answer to a Range request replaces the piece."""
        server.behaviour.cut_after = [700_000]
        server.behaviour.ranges = False
        assert cache.fetch(PLAIN).path.read_bytes() == BODY

    def test_a_silent_server_is_given_up(self, tmp_path: Path, server: WeightsServer) -> None:
        """A server that stops talking costs the timeout, and a retry may help."""
        server.behaviour.delay = 3.0
        cache = WeightsCache(tmp_path / "cache", mirrors={"*": server.url}, timeout=0.3)
        with pytest.raises(WeightsUnavailable):
            cache.fetch(PLAIN)

    @pytest.mark.parametrize(("status", "retryable"), [(503, True), (429, True), (403, False), (404, False)])
    def test_only_what_may_pass_is_retryable(
        self, cache: WeightsCache, server: WeightsServer, status: int, retryable: bool
    ) -> None:
        """Overload may pass; a missing file or permission does not."""
        server.behaviour.status = status
        with pytest.raises(WeightsError, match=str(status)) as caught:
            cache.fetch(PLAIN)
        assert isinstance(caught.value, WeightsUnavailable) is retryable

    def test_nobody_there_is_retryable(self, tmp_path: Path) -> None:
        """A refused connection is WeightsUnavailable."""
        cache = WeightsCache(tmp_path, mirrors={"*": "http://127.0.0.1:9"})
        with pytest.raises(WeightsUnavailable):
            cache.fetch(PLAIN)


class TestVerification:
    @pytest.mark.parametrize("source", [PLAIN, PREFIX, HUB])
    def test_wrong_bytes_are_refused(self, cache: WeightsCache, server: WeightsServer, source: WeightsSource) -> None:
        """Wrong bytes are named with URL, expected and found digest, and leave nothing behind.

        For Hugging Face the digest comes from X-Linked-Etag, in the answer before the redirect.
        """
        server.behaviour.corrupt = True
        with pytest.raises(WeightsRefused) as caught:
            cache.fetch(source)
        found = hashlib.sha256(BODY[:-1] + bytes([BODY[-1] ^ 0xFF])).hexdigest()
        for part in (source.url, source.sha256 or SHA256, found):
            assert part in str(caught.value)
        assert not cache.path_of(source).exists()
        assert not list(cache.path_of(source).parent.glob("*.partial*"))
        server.behaviour.corrupt = False
        assert cache.fetch(source).sha256 == SHA256

    @pytest.mark.parametrize("source", [PLAIN, PREFIX, HUB])
    @pytest.mark.parametrize("harm", ["truncate", "flip"])
    def test_a_damaged_file_is_named_and_fetched_again(
        self,
        cache: WeightsCache,
        server: WeightsServer,
        source: WeightsSource,
        harm: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A cached file that was cut or altered, even with its times set back, is never used."""
        path = cache.fetch(source).path
        before = path.stat()
        with path.open("r+b") as file:
            if harm == "truncate":
                file.truncate(1000)
            else:
                file.seek(5000)
                file.write(b"\0\0\0\0")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with caplog.at_level(logging.WARNING):
            assert cache.cached(source) is None
        assert str(path) in caplog.text
        assert cache.fetch(source).path.read_bytes() == BODY
        assert server.transfers == 2

    def test_what_was_seen_first_is_expected_later(self, cache: WeightsCache, upstream: Path) -> None:
        """Where upstream publishes no digest, a file that is different next time is refused."""
        path = cache.fetch(HUB).path
        path.unlink()
        path_under(upstream, HUB.url).write_bytes(BODY[::-1])
        with pytest.raises(WeightsRefused, match=SHA256):
            cache.fetch(HUB)

    def test_a_crash_before_the_stamp_costs_a_hash_only(self, cache: WeightsCache, server: WeightsServer) -> None:
        """A file under its final name whose record has no stamp yet is verified, not fetched again."""
        from pixelmill.models.fetch.records import Record

        path = cache.fetch(HUB).path
        Record(HUB.url, SHA256, None).write(path.with_name(f"{path.name}.json"))
        assert cache.fetch(HUB).sha256 == SHA256
        assert server.transfers == 1

    def test_a_local_file_is_checked_where_it_lies(self, tmp_path: Path, cache: WeightsCache) -> None:
        """`file:` sources are used in place, and refused when they are not what the settings pin."""
        own = tmp_path / "own weights.pt"
        own.write_bytes(BODY)
        assert cache.fetch(WeightsSource(f"file:{own}", sha256=SHA256)).path == own
        own.write_bytes(BODY[:100])
        with pytest.raises(WeightsRefused, match=SHA256):
            cache.fetch(WeightsSource(f"file:{own}", sha256=SHA256))
        assert cache.fetch(WeightsSource(f"file:{own}")).path == own
        with pytest.raises(WeightsError, match="not there"):
            cache.fetch(WeightsSource(f"file:{own}.missing"))
        assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["own weights.pt"]


class TestPlaces:
    def test_a_folder_is_a_mirror_even_offline(self, tmp_path: Path, upstream: Path) -> None:
        """A mirror folder of one host, an URL prefix or all hosts gives the file with no network."""
        for number, mirrors in enumerate(
            (
                {"*": str(upstream)},
                {"huggingface.co": str(upstream / "huggingface.co"), "*": "http://127.0.0.1:9"},
                {"https://huggingface.co/some": f"file://{upstream}/huggingface.co/some", "huggingface.co": "/nowhere"},
            )
        ):
            cache = WeightsCache(tmp_path / str(number), mirrors=mirrors, offline=True)
            assert cache.fetch(HUB).sha256 == SHA256

    def test_a_folder_without_the_file_names_it(self, tmp_path: Path) -> None:
        """The message says which file the mirror folder lacks."""
        cache = WeightsCache(tmp_path / "cache", mirrors={"*": str(tmp_path / "empty")})
        with pytest.raises(WeightsUnavailable, match=r"empty/download\.pytorch\.org/models/one\.pth"):
            cache.fetch(PLAIN)

    def test_a_host_that_only_looks_alike_is_not_mirrored(self) -> None:
        """`huggingface.co` is not the mirror key of huggingface.com."""
        from pixelmill.models.fetch.mirrors import locate

        url = "https://huggingface.com/a/b"
        assert locate(url, {"huggingface.co": "http://mirror"}).address == url

    def test_hf_endpoint_is_honoured(
        self, tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """HF_ENDPOINT replaces huggingface.co, unless the settings name a mirror for it."""
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/huggingface.co/")
        assert WeightsCache(tmp_path / "a").fetch(HUB).sha256 == SHA256
        asked = len(server.requests)
        mirrored = WeightsCache(tmp_path / "b", mirrors={"huggingface.co": "http://127.0.0.1:9"})
        with pytest.raises(WeightsUnavailable):
            mirrored.fetch(HUB)
        assert len(server.requests) == asked

    def test_the_token_goes_to_the_hub_only(
        self, tmp_path: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """HF_TOKEN is shown to the hub (HF_ENDPOINT), never to mirrors or other hosts, and never logged."""
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/huggingface.co")
        with caplog.at_level(logging.DEBUG):
            WeightsCache(tmp_path / "a").fetch(HUB)
            assert server.requests[0].authorization == "Bearer hf_secret"
            server.requests.clear()
            cache = WeightsCache(tmp_path / "b", mirrors={"*": server.url})
            cache.fetch(HUB)
            cache.fetch(PLAIN)
        assert {r.authorization for r in server.requests} == {""}
        assert "hf_secret" not in caplog.text

    def test_offline_says_what_is_missing(self, tmp_path: Path, server: WeightsServer) -> None:
        """Offline names the file, its place and its URL, and asks nothing of the network; no retry would change that.
        Cached files serve."""
        mirrors = {"*": server.url}
        offline = WeightsCache(tmp_path / "cache", mirrors=mirrors, offline=True)
        with pytest.raises(WeightsError) as caught:
            offline.fetch(PLAIN)
        assert not isinstance(caught.value, WeightsUnavailable)
        assert str(offline.path_of(PLAIN)) in str(caught.value)
        assert PLAIN.url in str(caught.value)
        assert server.requests == []
        WeightsCache(tmp_path / "cache", mirrors=mirrors).fetch(PLAIN)
        assert offline.fetch(PLAIN).sha256 == SHA256

    def test_a_url_cannot_leave_the_cache(self, cache: WeightsCache) -> None:
        """`..` in a URL, plain or escaped, is no way out of the cache folder."""
        for path in ("a/../../x", "a/%2e%2e/%2e%2e/x", "a%2f..%2f..%2fx"):
            with pytest.raises(WeightsError, match="plain URL"):
                cache.fetch(WeightsSource(f"https://example.org/{path}"))

    def test_a_package_that_is_not_installed_is_named(self, cache: WeightsCache) -> None:
        """`package:` of a missing package says which package to install."""
        with pytest.raises(WeightsError, match="no_such_package"):
            cache.fetch(WeightsSource("package:no_such_package/file.pth"))
