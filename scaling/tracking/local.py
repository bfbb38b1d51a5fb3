"""The local record of a run, `results/<experiment>/<run>.metrics.jsonl`: one JSON object a line.

The first line says which run it is. Metrics and names of files follow as they come, and the last
line says how the run ended. The record is written before any tracker hears of it.
"""

import contextlib
import dataclasses
import fcntl
import json
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.config import TrackingConfig
from scaling.errors import UserError
from scaling.record import atomic_file
from scaling.tracking.run import Backend, Ending, Item, Row, RunInfo

LOG = logging.getLogger(__name__)
SUFFIX = ".metrics.jsonl"
KILLED = "ended without a word: killed, or the machine went down"
Line = dict[str, Any]


def record_path(run: RunInfo) -> Path:
    """Where the local record of a run is."""
    return run.directory / f"{run.run}{SUFFIX}"


def read_lines(path: Path) -> list[Line]:
    """The lines of a local record, without a line that a kill cut in half; [] if it is missing."""
    lines = []
    if path.is_file():
        for text in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    lines.append(line)
    return lines


def first_line(run: RunInfo, config: TrackingConfig, key: str) -> Line:
    """The line that says which run a record belongs to, and which trackers were asked for."""
    return {
        "key": key,
        "run_info": {**dataclasses.asdict(run), "directory": str(run.directory)},
        "tracking": dataclasses.asdict(config),
        "time": time.time(),
    }


class LocalRecord:
    """Writes a record. Lines that a full disk refuses are kept and written with the next ones."""

    def __init__(self, path: Path, lines: list[Line]) -> None:
        """Replace the file at `path` by one that starts with `lines`."""
        self._path = path
        self._file: int | None = None
        self._unwritten = b"".join(_encoded(line) for line in lines)
        self._told = False
        self._flush()

    def add(self, item: Item) -> None:
        """Write one line."""
        if isinstance(item, Row):
            line: Line = {"step": item.step, "time": item.time, **item.metrics}
        elif isinstance(item, Ending):
            line = {"ending": item._asdict()}
        else:
            line = {"artifact": os.path.relpath(item, self._path.parent), "time": time.time()}
        self._unwritten += _encoded(line)
        self._flush()

    def close(self) -> None:
        """Release the file, which `is_alive` looks at."""
        self._flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = self._made_file()
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError as error:
            if not self._told:
                self._told = True
                LOG.warning(
                    f"{self._path}: cannot be written ({error.strerror}); training goes on and "
                    "the lines are tried again with each new one: make room on that disk"
                )

    def _made_file(self) -> int:
        with atomic_file(self._path) as stream:
            stream.write(self._unwritten)
        self._unwritten = b""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file


def _encoded(line: Line) -> bytes:
    # JSON has no NaN and no infinity. They are written as text, which `float()` reads.
    safe = {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }
    return (json.dumps(safe, default=str) + "\n").encode()


def is_alive(path: Path) -> bool:
    """Whether a training still writes this record; it then holds a lock on the file."""
    with open(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@dataclass(frozen=True)
class RecordedRun:
    """A local record that was read back.

    `alive` says whether a training still writes it. `ending` is None if the record tells none.
    """

    info: RunInfo
    tracking: TrackingConfig
    key: str
    started: float
    rows: list[Row]
    artifacts: list[Path]
    ending: Ending | None
    alive: bool


def read_run(path: Path) -> RecordedRun | None:
    """The record at `path`; None if its first line does not say which run it is."""
    alive = is_alive(path)  # before the lines, or a run that ends meanwhile would look killed
    lines = read_lines(path)
    if not lines or "key" not in lines[0]:
        return None
    first = lines[0]
    endings = [Ending(**line["ending"]) for line in lines if "ending" in line]
    return RecordedRun(
        info=RunInfo(**{**first["run_info"], "directory": path.parent}),
        tracking=TrackingConfig(**first["tracking"]),
        key=first["key"],
        started=first["time"],
        rows=[_row(line) for line in lines if "step" in line],
        artifacts=[path.parent / line["artifact"] for line in lines if "artifact" in line],
        ending=endings[-1] if endings else None,
        alive=alive,
    )


def _row(line: Line) -> Row:
    metrics = {k: float(v) for k, v in line.items() if k not in ("step", "time")}
    return Row(line["step"], line["time"], metrics)


# --- uploads to trackers that lack a record ----------------------------------------------------


def record_paths(study: Path, run: str | None) -> list[Path]:
    """The local records in `results/<experiment>`, or the one of `run`; none is a `UserError`."""
    found = sorted(study.glob(f"{run or '*'}{SUFFIX}"))
    if not found:
        raise UserError(
            f"{study}: no {run or '*'}{SUFFIX} there; give the folder of one study, "
            "for example --results results/daily/threshold_1pct"
        )
    return found


def replay(recorded: RecordedRun, backend: Backend) -> int:
    """Send a recorded run to a tracker; returns how many points were new to it.

    A run that is neither alive nor ended was killed, and is marked as failed.
    """
    backend.open(recorded.info, recorded.key, recorded.started)
    added = backend.log(recorded.rows)
    for path in recorded.artifacts:
        if path.is_file():  # it may have been moved or deleted since
            backend.artifact(path)
    if not recorded.alive:
        backend.close(recorded.ending or _killed(recorded))
    return added


def _killed(recorded: RecordedRun) -> Ending:
    step, time = 0, recorded.started
    if recorded.rows:
        step, time, _ = recorded.rows[-1]
    return Ending("failed", KILLED, {}, step, time)
