#!/usr/bin/python3
"""What a machine without systemd has in the place of `systemctl`, for tests: it reads the units of /etc/systemd/system and
starts their ExecStart as their user, with their variables, and ends all that it has started.

What keeps a service from the rest of the machine (ProtectSystem, PrivateTmp) and what starts it again (Restart) is left
out. It is run by whatever Python the machine has, and knows what the commands of docs/operations.md need.
"""

from __future__ import annotations

import fnmatch
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

UNITS = Path("/etc/systemd/system")
LOGS = Path("/var/log")
MARK = "INVOCATION_ID"


def settings_of(unit: str) -> dict[str, list[str]]:
    """The settings of the unit's [Service], by name."""
    template, _, instance = unit.partition("@")
    text = (UNITS / (f"{template}@.service" if instance else f"{unit}.service")).read_text()
    found: dict[str, list[str]] = {}
    for line in text.partition("[Service]\n")[2].partition("\n[")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value.replace("%i", instance).replace("%H", socket.gethostname()))
    return found


def variables_of(unit: str, settings: dict[str, list[str]]) -> dict[str, str]:
    user = pwd.getpwnam(settings["User"][0])
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        MARK: unit,
    }
    for value in settings.get("Environment", ()):
        variables |= dict(word.split("=", 1) for word in shlex.split(value))
    for value in settings.get("EnvironmentFile", ()):
        if not value.startswith("-") or Path(value[1:]).exists():
            lines = Path(value.removeprefix("-")).read_text().splitlines()
            variables |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return variables


def start(unit: str) -> None:
    if processes_of(unit):
        return
    settings = settings_of(unit)
    user, variables = pwd.getpwnam(settings["User"][0]), variables_of(unit, settings)
    for kind, root in (("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")):
        for name in settings.get(kind, ()):
            Path(root, name).mkdir(parents=True, exist_ok=True)
            Path(root, name).chmod(int(settings.get(f"{kind}Mode", ["0755"])[0], 8))  # of one that was there, too
            shutil.chown(Path(root, name), user.pw_uid, user.pw_gid)
    command = [word if "$" not in word else expanded(word, variables) for word in shlex.split(settings["ExecStart"][0])]
    with (LOGS / f"{unit}.log").open("ab") as log:
        subprocess.Popen(
            command, cwd=settings["WorkingDirectory"][0], env=variables, user=user.pw_uid, group=user.pw_gid,
            extra_groups=[], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def expanded(word: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        word = word.replace(f"${{{name}}}", value)
    return word


def processes_of(unit: str) -> list[int]:
    """All that the unit has started, whatever became of their parents."""
    return [process for process, name in services().items() if name == unit]


def services() -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            marks = [value.decode().partition("=")[2] for value in variables if value.startswith(f"{MARK}=".encode())]
            if marks and int(entry.name) != os.getpid():
                found[int(entry.name)] = marks[0]
    return found


def stop(unit: str) -> None:
    end = time.monotonic() + 60
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes_of(unit):
            with suppress(ProcessLookupError):
                os.kill(process, number)
        while processes_of(unit) and (time.monotonic() < end or number == signal.SIGKILL):
            time.sleep(0.1)


def main() -> None:
    verb, *names = [word for word in sys.argv[1:] if not word.startswith("--")]
    running = sorted(set(services().values()))
    units = [unit for name in names for unit in (fnmatch.filter(running, name) if "*" in name else [name])]
    for unit in units:
        if verb in ("stop", "restart"):
            stop(unit)
        if verb in ("start", "restart") or (verb == "enable" and "--now" in sys.argv):
            start(unit)
    if verb not in ("daemon-reload", "enable", "start", "stop", "restart"):
        sys.exit(f"Expected one of the verbs that the test knows. Got {verb}.")


if __name__ == "__main__":
    main()
