"""Moto's S3 server, which answers 503 to everything while a file is there, and gives pictures as slowly as another says:
`python -m tests.support.sick_s3 -H HOST -p PORT`; the files are those of `SickS3`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.s3 import S3

FOLDER = "SICK_S3"


class SickS3(S3):
    """A server that can be made sick, and slow."""

    MODULE = "tests.support.sick_s3"

    def __init__(self, log: Path) -> None:
        self.folder = log.parent
        super().__init__(log, variables={FOLDER: str(self.folder)})

    @contextmanager
    def sick(self) -> Iterator[None]:
        """It answers 503 to everything while the block runs."""
        (self.folder / "sick").touch()
        try:
            yield
        finally:
            (self.folder / "sick").unlink()

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """It takes so long to give a picture while the block runs."""
        (self.folder / "slow").write_text(str(seconds))
        try:
            yield
        finally:
            (self.folder / "slow").unlink()


def _main(host: str, port: int, folder: Path) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    moto = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if (folder / "sick").exists():
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]
        if environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".png"):
            with suppress(OSError, ValueError):
                time.sleep(float((folder / "slow").read_text()))
        found: Iterable[bytes] = moto(environ, start)
        return found

    run_simple(host, port, answer, threaded=True)


if __name__ == "__main__":
    _main(sys.argv[2], int(sys.argv[4]), Path(os.environ[FOLDER]))
