"""A run in a process of its own whose source hangs: `python -m tests.support.hanging_run JOB WHEN`.

The job is in JSON; `WHEN` is `scan` or `embed`, from when on it hangs. Prints the report, and ends as the command does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pixelmill.plan import Plan
from pixelmill.run import steps
from pixelmill.run.job import Job
from pixelmill.store.manifest import Matrix
from pixelmill.watch import calls
from pixelmill.watch.exit import leave_process
from tests.support import models  # noqa: F401 - the stand-ins that the job names


def main(job: Job, when: str) -> None:
    marker = Path(os.environ["HANG_WHEN"])
    calls.SILENT_SECONDS = calls.OVERTIME_SECONDS = 1.0

    def armed(job: Job, scan: int) -> tuple[list[Matrix], Plan]:
        planned = steps.plan_work(job, scan)
        marker.touch()
        return planned

    if when == "scan":
        marker.touch()
    print(steps.run(job, steps.Steps(plan=armed)).model_dump_json())
    leave_process(0)


if __name__ == "__main__":
    main(Job.model_validate_json(sys.argv[1]), sys.argv[2])
