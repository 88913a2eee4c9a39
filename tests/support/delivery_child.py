"""Deliveries in processes of their own, killed at a chosen call to the target. They are forked from one that has
imported all it needs and has done nothing yet, so that one takes milliseconds, and no client of a database is forked.

    with Deliverer() as deliverer: deliverer.deliver(store, delivery, fatal=("write", 2))
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from pixelmill.deliver import base
from pixelmill.deliver import deliver as delivering
from pixelmill.deliver.base import Target
from pixelmill.deliver.delivery import Delivery
from pixelmill.errors import DeliveryError
from tests.support.prefect_server import ROOT

CALLS = sorted({*Target.__abstractmethods__, "close"})
Around = Callable[[str], AbstractContextManager[None]]


def watch(target: Target, around: Around) -> Target:
    """Let every call to a target, its own ones too, be made in the context that `around` gives for its name."""
    for name in CALLS:
        setattr(target, name, _within(getattr(target, name), lambda name=name: around(name)))
    return target


def _within(call: Callable[..., Any], context: Callable[[], AbstractContextManager[None]]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with context():
            return call(*args, **kwargs)

    return called


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: `killed`, or with what was `sent` and `deleted`, or with an `error`."""

    killed: bool
    error: str = ""
    sent: int = 0
    deleted: int = 0


class Deliverer:
    """Makes deliveries, one after the other, each in a process of its own. `modules` are imported before."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", __name__, *modules]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def deliver(self, store: Path, delivery: Delivery, *, fatal: tuple[str, float] | None = None) -> Ended:
        """Deliver and, if it is `fatal`, die at a call: of that name, or '' for any, by its number. With a half, inside
        it, or else before it."""
        self.begin(store, delivery, fatal=fatal)
        return self.end()

    def begin(
        self, store: Path, delivery: Delivery, *, fatal: tuple[str, float] | None = None, pause: float = 0.0
    ) -> None:
        """Begin to deliver, with a pause before each call to the target."""
        told = {
            "store": str(store), "delivery": delivery.model_dump(mode="json"), "fatal": fatal, "block": base.BLOCK,
            "environment": dict(os.environ), "folder": str(Path.cwd()), "pause": pause,
        }  # fmt: skip
        assert self._process.stdin
        print(json.dumps(told), file=self._process.stdin, flush=True)

    def end(self) -> Ended:
        """Wait for the delivery that was begun."""
        assert self._process.stdout
        lines = []
        while not lines or "status" not in lines[-1]:
            lines.append(json.loads(self._process.stdout.readline()))
        status = lines[-1]["status"]
        assert os.WIFSIGNALED(status) or len(lines) == 2, f"it ended with {status}"
        return Ended(os.WIFSIGNALED(status), **(lines[0] if len(lines) > 1 else {}))


class _Fate:
    """Kills this process at a call."""

    def __init__(self, name: str, number: float, pause: float) -> None:
        self._name, self._left, self._pause = name, number, pause

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        time.sleep(self._pause)
        if self._name not in ("", name):
            yield
            return
        if self._left == 0:
            _die()
        inside = self._left == 0.5
        if inside:
            threading.Timer(random.Random(os.getpid()).random() / 100, _die).start()
        yield
        if inside:
            _die()
        self._left -= 1


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deliver(told: dict[str, Any]) -> dict[str, Any]:
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    base.BLOCK = told["block"]  # type: ignore[misc]
    name, number = told["fatal"] or ("nothing", 0)
    fate, opened = _Fate(name, number, told["pause"]), delivering.open_target
    delivering.open_target = lambda delivery: watch(opened(delivery), fate)
    try:
        delivered = delivering.deliver(Path(told["store"]), Delivery.model_validate(told["delivery"]))
    except DeliveryError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"sent": delivered.sent, "deleted": delivered.deleted}


def _serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.write(1, json.dumps(_deliver(json.loads(line))).encode() + b"\n")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        import_module(module)
    _serve()
