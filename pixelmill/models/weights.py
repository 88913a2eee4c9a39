"""The weights cache: each file fetched once, verified, and never used when it is cut off or altered."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from pixelmill.errors import WeightsError, WeightsRefused
from pixelmill.models.base import ModelSpec, WeightsSource
from pixelmill.models.checkpoint.sniff import what_instead
from pixelmill.models.fetch.bundle import promised_sha256
from pixelmill.models.fetch.download import (
    NoSuchFileError,
    NotAllowedError,
    NotInFolderError,
    Transfer,
    copy,
    discard,
    download,
)
from pixelmill.models.fetch.mirrors import Place, locate, without_secrets
from pixelmill.models.fetch.records import Record, Stamp, sha256_of, sync_folder, touch
from pixelmill.progress import DownloadProgress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A weights file on this machine whose bytes were verified: its sha256, whole, and the upstream URL it is of.

    `beside` are the model's other files.
    """

    path: Path
    sha256: str
    url: str = ""
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightsCache:
    """Weights files under `cache_dir`, by upstream host and path.

    `mirrors` maps an upstream host, an URL prefix or `*` to an http(s) URL or a folder (see `mirrors.locate`);
    `offline` forbids the network, not mirror folders. `timeout` is how many seconds a server may stay silent.

    Beside each file lies `<name>.json` (`Record`): its sha256 and a stamp (size, inode, times). An unchanged stamp
    spares hashing the file again. Where upstream publishes no sha256, the first one seen is kept there and
    expected from then on.
    """

    cache_dir: Path
    mirrors: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False
    timeout: float = 30.0

    def path_of(self, source: WeightsSource) -> Path:
        """Where the file of `source` lies, or would lie once fetched."""
        scheme, _, rest = source.url.partition(":")
        if scheme == "file":
            return Path(unquote(rest.removeprefix("//")))
        return _in_package(rest) if scheme == "package" else self._place_in_cache(source.url)

    def cached(self, source: WeightsSource) -> CachedFile | None:
        """The verified file of `source` if it is on this machine, else None; a bad one is named in a warning."""
        for one in _alternatives(source):
            if (found := self._verified(one)) is not None:
                return found
        return None

    def fetch(self, source: WeightsSource, *, progress: DownloadProgress | None = None) -> CachedFile:
        """The verified file of `source`, downloaded first if need be; many processes at once download it once.

        Raises WeightsUnavailable if a retry may help (network, server), WeightsRefused for a wrong
        sha256, and WeightsError for what no retry changes (no such file, no permission, offline).
        """
        if (found := self.cached(source)) is not None:
            return found
        if not source.url.startswith(("http://", "https://")):
            raise self._not_local(source)
        try:
            return self._fetch_once(source, progress or _silent)
        except (NoSuchFileError, NotInFolderError):
            if not source.alternative:
                raise
            return self._fetch_once(_alternatives(source)[1], progress or _silent)

    def fetch_model(self, spec: ModelSpec, *, progress: DownloadProgress | None = None) -> CachedFile:
        """The verified weights of a model and, beside them, its other files. Raises as `fetch` does."""
        weights = self.fetch(spec.weights, progress=progress)
        others = [self.fetch_if_there(source, progress=progress) for source in spec.others]
        return replace(weights, beside=tuple(other.path for other in others if other))

    def fetch_if_there(self, source: WeightsSource, *, progress: DownloadProgress | None = None) -> CachedFile | None:
        """As `fetch`; None for an optional file that upstream, or the mirror folder, does not have, or that is not
        here where nobody may be asked."""
        if source.optional and self.offline and locate(source.url, self.mirrors).is_http:
            return self.cached(source)
        try:
            return self.fetch(source, progress=progress)
        except (NoSuchFileError, NotInFolderError, NotAllowedError):
            if source.optional:
                return None
            raise

    def _fetch_once(self, source: WeightsSource, progress: DownloadProgress) -> CachedFile:
        path = self.path_of(source)
        place = locate(source.url, self.mirrors)
        if self.offline and place.is_http:
            raise self._offline(source, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            return self._verified(source, quiet=True) or self._bring(source, place, path, progress)

    def _bring(self, source: WeightsSource, place: Place, path: Path, progress: DownloadProgress) -> CachedFile:
        partial = path.with_name(f"{path.name}.partial")
        expected = self._expected(source)
        transfer = self._transfer(place, partial, progress, resumable=bool(expected))
        if transfer.resumed and not _agrees(transfer, expected):  # perhaps two versions of the file: once more, whole
            discard(partial)
            transfer = self._transfer(place, partial, progress, resumable=False)
        if what := what_instead(partial):
            discard(partial)
            raise WeightsRefused(
                f"Expected the weights file {without_secrets(source.url)} at {place.shown}.{what} It was thrown away."
            )
        if not _agrees(transfer, expected):
            discard(partial)
            raise _wrong_hash(source, place, expected or transfer.announced or "", transfer.sha256)
        return self._admit(source, partial, path, transfer.sha256)

    def _transfer(self, place: Place, partial: Path, progress: DownloadProgress, *, resumable: bool) -> Transfer:
        if place.is_http:
            return download(place, partial, progress=progress, timeout=self.timeout, resumable=resumable)
        path = Path(place.address)
        return copy(path, partial, progress=progress, promised=promised_sha256(Path(place.folder), path))

    def _admit(self, source: WeightsSource, partial: Path, path: Path, sha256: str) -> CachedFile:
        # The digest is on the disk before the file has its name, and the stamp (a rename changes ctime) after.
        Record(without_secrets(source.url), sha256, None).write(self._record_path(path))
        partial.replace(path)
        sync_folder(path.parent)
        discard(partial)
        Record(without_secrets(source.url), sha256, Stamp.of(path)).write(self._record_path(path))
        return CachedFile(path, sha256, source.url)

    def _verified(self, source: WeightsSource, *, quiet: bool = False) -> CachedFile | None:
        path = self.path_of(source)
        if not path.is_file():
            return None
        stamp, record, expected = Stamp.of(path), Record.read(self._record_path(path)), self._expected(source)
        unchanged = record is not None and record.stamp == stamp
        sha256 = record.sha256 if record and unchanged else sha256_of(path)
        if not sha256.startswith(expected):
            if not quiet:
                log.warning("weights file is damaged, not used: path=%s expected=%s found=%s", path, expected, sha256)
            return None
        if unchanged:
            touch(self._record_path(path))
        else:
            self._remember(Record(without_secrets(source.url), sha256, stamp), path)
        return CachedFile(path, sha256, source.url)

    def _remember(self, record: Record, path: Path) -> None:
        target = self._record_path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            record.write(target)
        except OSError as error:  # a cache that is shared read-only: hashed again next time
            log.info("could not note the sha256 of %s: %s", path, error)

    def _expected(self, source: WeightsSource) -> str:
        """The digest, or its first digits, that the file must have; '' if nothing is known yet."""
        record = Record.read(self._record_path(self.path_of(source)))
        published = (source.sha256 or "").lower()
        seen = record.sha256 if record and _fetched(source) else ""
        return seen if seen.startswith(published) else published

    def _record_path(self, path: Path) -> Path:
        if path.is_relative_to(self.cache_dir):
            return path.with_name(f"{path.name}.json")
        key = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return self.cache_dir / "local" / f"{key}-{path.name}.json"

    def _place_in_cache(self, url: str) -> Path:
        parts = urlsplit(url)
        steps = [unquote(step) for step in f"{parts.netloc}{parts.path}".split("/") if step]
        if any(step in (".", "..") or "/" in step or "\0" in step for step in steps):
            raise WeightsError(f"Expected a plain URL of a weights file. Got {url!r}.")
        if parts.query:  # two queries are two files
            steps[-1] = f"{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}-{steps[-1]}"
        return self.cache_dir.joinpath(*steps)

    def _offline(self, source: WeightsSource, path: Path) -> WeightsError:
        state = "The file there is damaged" if path.exists() else "It is not there"
        return WeightsError(
            f"Expected the weights file {path}. {state}, and this run is offline. Run `pixelmill weights bundle` on a"
            f" machine with network and set `mirrors` under [weights] to the bundle, or save"
            f" {without_secrets(source.url)} under that name."
        )

    def _not_local(self, source: WeightsSource) -> WeightsError:
        path = self.path_of(source)
        if path.is_file():
            return WeightsRefused(
                f"Expected sha256 {source.sha256} of {path}. Found {sha256_of(path)}. Put the right file there, or"
                f" correct the sha256 in the settings."
            )
        if path.exists():
            return WeightsRefused(f"Expected the weights file {path}.{what_instead(path)}")
        return WeightsError(f"Expected the weights file {path}. It is not there.")


def _alternatives(source: WeightsSource) -> tuple[WeightsSource, ...]:
    if not source.alternative:
        return (source,)
    # The digest, if any, is that of the first file; the other is kept to what was first seen of it.
    return WeightsSource(source.url, source.sha256, source.bytes), WeightsSource(source.alternative)


def _fetched(source: WeightsSource) -> bool:
    # A person's own file may change as they like; what was fetched once may not.
    return source.url.startswith(("http://", "https://"))


def _agrees(transfer: Transfer, expected: str) -> bool:
    # Of what a whole digest is known for, a server's word is not needed, and may be about another version.
    announced = "" if len(expected) == 64 else transfer.announced or ""
    return transfer.sha256.startswith(expected) and transfer.sha256.startswith(announced)


def _in_package(rest: str) -> Path:
    name, _, inside = rest.partition("/")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise WeightsError(f"Expected the installed package {name!r}, which ships {inside}. Install it and try again.")
    return Path(found.origin).parent / inside


def _wrong_hash(source: WeightsSource, place: Place, expected: str, found: str) -> WeightsRefused:
    asked = "" if place.address == source.url else f" (asked for at {place.shown})"
    return WeightsRefused(
        f"Expected sha256 {expected} of {without_secrets(source.url)}{asked}. Found {found}. The file was thrown away."
        f" If upstream replaced the file on purpose, remove its record from the cache folder (`<file>.json`) and try"
        f" again."
    )


def _silent(done: int, total: int | None) -> None:
    """Show nothing."""
