"""`pixelmill serve`: the gallery."""

from __future__ import annotations

import ipaddress
import logging
import re
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmill.cli import common
from pixelmill.errors import SettingsError

if TYPE_CHECKING:
    from pixelmill.search.searcher import Searcher
    from pixelmill.web.gallery import Gallery
    from pixelmill.web.warm import WarmEncoders
    from settings import Settings

LEAST_TOKEN = 16
"""Characters. Shorter ones can be guessed."""
_TOKEN = re.compile(f"[!-~]{{{LEAST_TOKEN},}}")


@click.command(short_help="The gallery: the store in a browser.")
@click.argument("store", required=False, type=common.StorePath(path_type=Path, file_okay=False))
@click.option("--host", metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1, for this machine alone.")
@click.option("--port", type=click.IntRange(0, 65_535), help="0: any that is free. Default: 8000.")
@click.option("--token", metavar="SECRET", help="Who has it may look. `ps` shows flags: PIXELMILL_WEB__TOKEN.")
@common.config_file
def serve(store: Path | None, host: str | None, port: int | None, token: str | None, config: Path | None) -> None:
    """Show a store in a browser: search, similar images, map, near-duplicates, coverage, quarantine, reports.

    Without STORE: the `store` of the settings. New snapshots show as they are published. Only labels that people give
    are written into it.
    """
    from pixelmill.devices import resolve_device
    from pixelmill.web.warm import WarmEncoders
    from settings import load_settings

    settings = load_settings(config, {"web": {"host": host, "port": port, "token": token}})
    secret = _checked_token(settings)
    folder = store or settings.run.store
    searcher = _searcher(folder, settings, resolve_device(settings.run.device))
    # `pixelmill search` embeds on the CPU unless it is told otherwise, and its scores are the same to the last bit.
    on_cpu = searcher if searcher.device == "cpu" else _searcher(folder, settings, "cpu")
    _listen(_gallery(searcher, settings, secret), WarmEncoders(on_cpu), settings)


def _checked_token(settings: Settings) -> str | None:
    """The token. Raises SettingsError without a good one where other machines can ask."""
    web = settings.web
    token = web.token.get_secret_value() if web.token else None
    advice = "Make one: PIXELMILL_WEB__TOKEN=$(openssl rand -hex 16)"
    if token is not None and not _TOKEN.fullmatch(token):
        found = f"{len(token)} characters" if len(token) < LEAST_TOKEN else "others"
        raise SettingsError(
            f"Expected a token of {LEAST_TOKEN} letters, digits and signs or more. Got {found}. {advice}"
        )
    if token is None and not _is_loopback(web.host):
        raise SettingsError(f"Expected a token to listen on {web.host}, which other machines may reach. {advice}")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _searcher(store: Path, settings: Settings, device: str) -> Searcher:
    from pixelmill.search.searcher import Searcher
    from settings.job import find_model, make_cache

    return Searcher(store, find=partial(find_model, settings), cache=make_cache(settings).open(), device=device)


def _gallery(searcher: Searcher, settings: Settings, token: str | None) -> Gallery:
    from pixelmill.images.decode import DecodeOptions
    from pixelmill.web.gallery import Gallery, Limits

    web, images = settings.web, settings.images
    limits = Limits(
        upload_bytes=int(web.max_upload_mb * 1e6),
        uploads_per_minute=web.uploads_per_minute,
        thumbnail_bytes=int(web.cache_gb * 1e9),
    )
    options = DecodeOptions(**images.model_dump())
    learning: dict[str, list[str]] = {}
    for name, head in settings.heads.items():
        if head.kind == "linear" and head.column:
            learning.setdefault(head.column, []).append(name)
    return Gallery(
        searcher, cache=web.cache_dir, options=options, limits=limits, token=token, labels=web.labels, learning=learning
    )  # fmt: skip


def _listen(gallery: Gallery, warm: WarmEncoders, settings: Settings) -> None:
    """Serve until stopped. Raises SettingsError for an address that cannot be had."""
    import uvicorn

    from pixelmill.web.app import make_app
    from pixelmill.web.connections import configured

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = configured(make_app(gallery, url=settings.web.url))
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which uvicorn does not know
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    with _socket(settings.web.host, settings.web.port) as listening, warm.announced(), suppress(KeyboardInterrupt):
        click.echo(f"The gallery of {gallery.newest.folder}: {_address(listening)} (Ctrl-C ends it)")
        uvicorn.Server(config).run(sockets=[listening])


def _socket(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise SettingsError(
            f"Expected to listen on {host}, port {port}: {error.strerror}. Choose another --port, or --host."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
