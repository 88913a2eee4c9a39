"""Images in Google Cloud Storage: gcsfs against a small server that speaks the part of its JSON API that reading takes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from pixelmill.run.job import Job
from pixelmill.sources import fsspec as filesystem
from tests.sources.conftest import Run, places
from tests.support.archives import content
from tests.support.serving import LocalServer


class Bucket(BaseHTTPRequestHandler):
    """https://cloud.google.com/storage/docs/json_api/v1/objects: list, get and media, for the bucket `photos`."""

    objects: dict[str, bytes]
    reads: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        key = unquote(parts.path.partition("/o/")[2])
        if re.fullmatch(r".*/b/photos/o/?", parts.path):
            self._say(200, json.dumps(self._listed(query)).encode())
        elif key not in self.objects:
            self._say(404, json.dumps({"error": {"code": 404, "message": "No such object"}}).encode())
        elif query.get("alt") != "media":
            self._say(200, json.dumps(self._object(key)).encode())
        else:
            self.reads.append(key)
            data = self.objects[key]
            found = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
            start, stop = (int(found[1]), int(found[2] or len(data)) + 1) if found else (0, len(data))
            self._say(206 if found else 200, data[start:stop])

    def log_message(self, *_: object) -> None:
        """Tests read `reads`."""

    def _listed(self, query: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = [key for key in sorted(self.objects) if key.startswith(prefix)]
        folders = {prefix + key[len(prefix) :].partition("/")[0] + "/" for key in keys if "/" in key[len(prefix) :]}
        if not delimiter:
            return {"items": [self._object(key) for key in keys]}
        items = [self._object(key) for key in keys if "/" not in key[len(prefix) :]]
        return {"items": items, "prefixes": sorted(folders)}

    def _object(self, key: str) -> dict[str, Any]:
        digest = hashlib.md5(self.objects[key]).hexdigest()
        return {
            "name": key, "bucket": "photos", "size": str(len(self.objects[key])), "etag": digest, "generation": "1",
            "updated": "2026-11-26T02:00:00.000Z", "timeCreated": "2026-11-26T02:00:00.000Z", "contentType": "image/png",
        }  # fmt: skip

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    """The bucket, as gs://photos."""

    class Served(Bucket):
        objects = {f"2026/{number}.png": content(number) for number in range(12)} | {"2026/notes.txt": b"x"}
        reads: list[str] = []  # noqa: RUF012

    with LocalServer(Served).running() as server:
        # Else it would ask by gRPC what kind of bucket this is.
        monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        import fsspec

        options = {"token": "anon", "endpoint_url": server.url}
        monkeypatch.setitem(fsspec.config.conf, "gs", options)
        yield Served
    filesystem._filesystem.cache_clear()


def test_a_bucket(go: Run, job: Job, gcs: type[Bucket]) -> None:
    """All images are read once; the second run lists alone; what changed is read again, and what is gone goes."""
    calls, report = go("gs://photos/2026")
    assert (calls, report.images.seen) == (12, 12)
    assert places(job) == {f"gs://photos/2026/{number}.png" for number in range(12)}
    assert sorted(gcs.reads) == sorted(key for key in gcs.objects if key.endswith(".png"))
    gcs.reads.clear()
    assert go("gs://photos/2026")[0] == 0
    assert gcs.reads == []
    gcs.objects["2026/11.png"] = content(111)
    del gcs.objects["2026/9.png"]
    calls, report = go("gs://photos/2026")
    assert (calls, report.images.changed, report.images.removed) == (1, 1, 1)
