"""A run in a process of its own whose source hangs: `python -m tests.support.hanging_run JOB WHEN`.

The job is in JSON; `WHEN` is `scan` or `embed`, from when on it hangs. Prints the report, and ends as the command does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from pixelmill.run.job import Job
from pixelmill.watch import calls
from pixelmill.watch.exit import leave_process
from tests.support import library_run
from tests.support.models import BlockMeans


def main(job: Job, when: str) -> None:
    marker = Path(os.environ["HANG_WHEN"])
    calls.SILENT_SECONDS = calls.OVERTIME_SECONDS = 1.0
    prepare = library_run.prepare

    def armed(*given: Any) -> Any:
        prepared = prepare(*given)
        marker.touch()
        return prepared

    if when == "scan":
        marker.touch()
    with (
        mock.patch("pixelmill.run.loaded.load_file", lambda spec, file, **_: BlockMeans(spec, file.sha256)),
        mock.patch.object(library_run, "prepare", armed),
    ):
        print(library_run.run(job).model_dump_json())
    leave_process(0)


if __name__ == "__main__":
    main(Job.model_validate_json(sys.argv[1]), sys.argv[2])
