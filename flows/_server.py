"""The process behind a run's own API: Prefect's server, which ends with the run, however that ends."""

import os
import signal
import sys
import threading
import time

STOP_SECONDS = 5.0


def main(listening: int) -> None:
    """Serve on a socket that is open already, until whoever holds the other end of stdin is gone."""
    import uvicorn

    threading.Thread(target=_end_with_stdin, daemon=True).start()
    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, fd=listening, log_level="error", lifespan="on")


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
