"""S3 by a real server in a process of its own: moto's, which keeps its buckets in memory.

The fixture `s3_server` (a module's) has one running and set in the environment, where fsspec and botocore look."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from pixelmill.sources import fsspec as filesystem
from tests.support.prefect_server import ROOT, free_port


def forget_connections() -> None:
    """What fsspec knows of S3 in this process goes: it would go on with the login that it once found."""
    import fsspec

    filesystem._filesystem.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


class S3:
    """Moto's server and its log: which requests came in."""

    MODULE = "moto.server"

    def __init__(self, log: Path, host: str = "127.0.0.1", *, variables: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._log = log
        self._told = 0
        with log.open("wb") as out:
            command = [sys.executable, "-m", self.MODULE, "-H", host, "-p", str(self.port)]
            few = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "50", "PYTHONPATH": str(ROOT), **(variables or {})}
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=few)
        self.url = f"http://{host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the server as S3."""
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "hunter2",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        for _ in range(300):
            try:
                httpx.get(self.url, timeout=1)
            except httpx.HTTPError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(self._log.read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def said(self) -> str:
        """Its log."""
        return self._log.read_text()

    def requests(self) -> list[tuple[str, str]]:
        """What was asked since this was called last, as ("GET", "/bucket/key?…")."""
        told = re.findall(r'"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP', self._log.read_text())
        new, self._told = told[self._told :], len(told)
        return new

    def reads(self) -> list[str]:
        """The objects whose content was asked for since the last time."""
        return [p for method, p in self.requests() if method == "GET" and "?" not in p and p.strip("/") != "photos"]
