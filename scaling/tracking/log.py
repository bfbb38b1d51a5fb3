"""What a training says goes to a log as well."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LogFiles(logging.Handler):
    """Appends each message to a log and to the log's history.

    Snakemake empties a declared log before each try; the history beside it keeps them all.
    """

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._files = [log, log.with_suffix(".history")]
        log.parent.mkdir(parents=True, exist_ok=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message. A full disk must not end the training that it reports."""
        for path in self._files:
            try:
                with path.open("a") as stream:
                    stream.write(f"{self.format(record)}\n")
            except OSError as error:
                print(f"{path}: {error.strerror}", file=sys.stderr)


@contextmanager
def logged(log: Path | None) -> Iterator[None]:
    """Until the end, what the library says is written to `log` too, if there is one."""
    messages = logging.getLogger("scaling")
    if log is not None:
        messages.addHandler(handler := LogFiles(log))
    try:
        yield
    finally:
        if log is not None:
            messages.removeHandler(handler)
