"""The local record of a run, and the trackers that mirror it without being able to harm it.

`<run>.metrics.jsonl` is the truth and is written first. MLflow and W&B each get a copy through a
thread and a bounded queue of their own: nothing they do (slow, dead, silent, broken package)
reaches training. What they missed is replayed from the record by `python -m scaling.track sync`.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling.config import TrackingConfig
from scaling.record import atomic_file
from scaling.tracking.backends import (
    Backend,
    Ending,
    Hopeless,
    Row,
    RunInfo,
    Status,
    make_backends,
    results_root,
)

CLOSING_SECONDS = 60.0
GATHER_SECONDS = 1.0
QUEUE_LENGTH = 50_000
ROWS_PER_BATCH = 250
Say = Callable[[str], None]


def record_path(run: RunInfo) -> Path:
    """Where the metrics of a run stand."""
    return run.directory / f"{run.run}.metrics.jsonl"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """A local record's lines; what a kill cut in half is left out. A missing file has none."""
    lines = []
    if path.is_file():
        for text in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict):
                    lines.append(line)
    return lines


def _encode(line: dict[str, Any]) -> bytes:
    # Strict JSON has no NaN; as text, `float()` still reads it.
    safe = {
        k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()
    }
    return (json.dumps(safe, default=str) + "\n").encode()


class LocalRecord:
    """Appends lines to a file; what a full disk refuses is kept and tried again with the next."""

    def __init__(self, path: Path, lines: list[dict[str, Any]], say: Say) -> None:
        self._path, self._say = path, say
        self._file: int | None = None
        self._unwritten = b"".join(_encode(line) for line in lines)
        self._told = False
        self._flush()

    def write(self, line: dict[str, Any]) -> None:
        self._unwritten += _encode(line)
        self._flush()

    def _flush(self) -> None:
        try:
            if self._file is None:
                with atomic_file(self._path) as stream:
                    stream.write(self._unwritten)
                self._unwritten = b""
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
                with contextlib.suppress(OSError):  # tells `track sync` that the run is alive
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]
        except OSError as error:
            if not self._told:
                self._say(
                    f"{self._path}: cannot be written ({error.strerror}); training goes on and "
                    "the lines are tried again with each new one: make room on that disk"
                )
            self._told = True

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_alive(path: Path) -> bool:
    """Whether a trainer still holds this local record open."""
    with open(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class Mirror:
    """Feeds one backend from one thread; gives up, once and in one line, at the second failure."""

    def __init__(self, backend: Backend, run: RunInfo, key: str, say: Say) -> None:
        self._backend, self._info, self._key, self._say = backend, run, key, say
        self._queue: queue.Queue[Row | Path | Ending] = queue.Queue(QUEUE_LENGTH)
        self._broken = threading.Event()
        self._started = time.time()
        self.id: str | None = None
        # A daemon: a hung tracker must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=backend.name, daemon=True)
        self._thread.start()

    def put(self, item: Row | Path | Ending) -> None:
        """Never waits. A gap would be worse than an early end: `sync` continues from a prefix."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._give_up(f"too slow, {QUEUE_LENGTH} rows are waiting")

    def join(self, deadline: float) -> None:
        """Wait for the last upload, until `deadline` on the monotonic clock."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._give_up(f"still not done {CLOSING_SECONDS:.0f} s after the end")

    def _give_up(self, why: str) -> None:
        if not self._broken.is_set():
            self._broken.set()
            self._say(
                f"{self._backend.name}: {' '.join(why.split())[:200]}; training is not affected "
                "and its local record is complete; to upload it later, type: python -m "
                f"scaling.track sync --results {self._info.directory} --to {self._backend.name}"
            )

    def _succeeds(self, call: Callable[..., Any], *arguments: Any) -> bool:
        for attempt in (1, 2):
            if self._broken.is_set():
                break
            try:
                call(*arguments)
                return not self._broken.is_set()
            except BaseException as error:  # a broken package raises anything, SystemExit too
                if attempt == 2 or isinstance(error, Hopeless):
                    kind = "" if isinstance(error, Hopeless) else f"{type(error).__name__}: "
                    self._give_up(f"{kind}{error}")
                else:
                    time.sleep(1)
        return False

    def _gather(self) -> tuple[list[Row], Path | Ending | None]:
        """Rows that arrive within a second travel together, with what ended the waiting."""
        rows: list[Row] = []
        deadline = 0.0
        while len(rows) < ROWS_PER_BATCH:
            try:
                left = max(0.0, deadline - time.monotonic()) if rows else None
                item = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if not isinstance(item, Row):
                return rows, item
            if not rows:
                deadline = time.monotonic() + GATHER_SECONDS
            rows.append(item)
        return rows, None

    def _open(self) -> None:
        self.id = self._backend.open(self._info, self._key, self._started)

    def _work(self) -> None:
        going = self._succeeds(self._open)
        while going:
            rows, item = self._gather()
            if rows:
                going = self._succeeds(self._backend.log, rows)
            if going and isinstance(item, Path):
                going = self._succeeds(self._backend.artifact, item)
            elif going and isinstance(item, Ending):
                self._succeeds(self._backend.close, item)
                return


class Trackers:
    """What the trainer is handed. No method waits for a tracker but `finish`, at most 60 s."""

    def __init__(
        self,
        record: LocalRecord,
        mirrors: list[Mirror],
        info: RunInfo,
        key: str,
        kept: set[tuple[int, str]],
    ) -> None:
        self._record, self._mirrors, self._info, self._key = record, mirrors, info, key
        self._kept = kept
        self._step = 0
        self._finished = False

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record scalars of one step; steps must not fall.

        What the record kept from before a resume is not written twice; each mirror sees to that
        for itself, for it may have missed some of it.
        """
        row = Row(step, time.time(), {name: float(value) for name, value in metrics.items()})
        self._step = step
        fresh = {k: v for k, v in row.metrics.items() if (step, k) not in self._kept}
        if fresh:
            self._record.write({"step": row.step, "time": row.time, **fresh})
        self._send(row)

    def artifact(self, path: str | Path) -> None:
        """Mirror a file that is complete and stays where it is (the config, the checkpoint)."""
        relative = os.path.relpath(path, self._info.directory)
        self._record.write({"artifact": relative, "time": time.time()})
        self._send(Path(path))

    @property
    def ids(self) -> dict[str, str]:
        """What the resume state keeps: `key` alone finds the run again in every tracker."""
        opened = {m._backend.name: m.id for m in self._mirrors if m.id is not None}
        return {"key": self._key, **opened}

    def finish(self, status: Status, reason: str, summary: dict[str, Any] | None = None) -> None:
        """Mark how the run ended and wait for the mirrors, 60 s for all of them together."""
        if self._finished:
            return
        self._finished = True
        ending = Ending(status, reason, summary or {}, self._step, time.time())
        self._record.write({"ending": ending._asdict()})
        self._record.close()
        self._send(ending)
        deadline = time.monotonic() + CLOSING_SECONDS
        for mirror in self._mirrors:
            mirror.join(deadline)

    def _send(self, item: Row | Path | Ending) -> None:
        for mirror in self._mirrors:
            mirror.put(item)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.finish("failed", f"{type(error).__name__}: {error}")
        else:
            self.finish("finished", "completed")


def open_trackers(
    config: TrackingConfig,
    run: RunInfo,
    resume_ids: dict[str, str] | None = None,
    on_problem: Say = print,
    resume_step: int | None = None,
) -> Trackers:
    """Start the local record and its mirrors; returns at once.

    With `resume_step` the record keeps its lines up to that step, which the resumed run continues;
    without it the record starts anew. `resume_ids` is the `ids` of the run that is resumed.
    """
    old = read_lines(record_path(run)) if resume_step is not None else []
    kept = [line for line in old if "step" in line and line["step"] <= (resume_step or 0)]
    key = (resume_ids or {}).get("key") or next((x["key"] for x in old if "key" in x), None)
    key = key or uuid.uuid4().hex
    header = {
        "key": key,
        "run_info": {**dataclasses.asdict(run), "directory": str(run.directory)},
        "tracking": dataclasses.asdict(config),
        "time": time.time(),
    }
    record = LocalRecord(record_path(run), [header, *kept], on_problem)
    backends = make_backends(config, results_root(run))
    mirrors = [Mirror(backend, run, key, on_problem) for backend in backends]
    points = {(line["step"], name) for line in kept for name in line}
    return Trackers(record, mirrors, run, key, points)
