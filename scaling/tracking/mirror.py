"""Copies of a run in MLflow and W&B, made beside the training so that they cannot harm it."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scaling.tracking.run import Backend, Ending, Hopeless, Item, Row, RunInfo, failure

LOG = logging.getLogger(__name__)
CLOSING_SECONDS = 60.0  # the end of a training waits this long for all mirrors together
GATHER_SECONDS = 1.0  # rows that come within this time are sent together
QUEUE_LENGTH = 50_000
ROWS_PER_BATCH = 250
RETRY_SECONDS = 1.0


class Mirror:
    """Feeds one backend from a thread and a bounded queue of its own.

    A tracker may be slow, dead, silent or a broken package: training does not wait for it. A call
    that fails is tried once more. After a second failure the mirror gives up and says so in one
    line; what it missed stays in the local record.
    """

    def __init__(self, backend: Backend, run: RunInfo, key: str) -> None:
        self.name = backend.name
        self.id: str | None = None  # the tracker's own id of the run, once it is open
        self._backend, self._info, self._key = backend, run, key
        self._queue: queue.Queue[Item] = queue.Queue(QUEUE_LENGTH)
        self._given_up = threading.Event()
        self._started = time.time()
        # A daemon thread, because a tracker that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=backend.name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item without waiting.

        If the queue is full the mirror gives up. It does not leave items out, because a later
        `sync` adds what comes after the last point that W&B has, and would not see a gap.
        """
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._give_up(f"too slow, {QUEUE_LENGTH} rows are waiting")

    def join(self, deadline: float) -> None:
        """Wait for the last upload until `deadline`, a time of the monotonic clock."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._give_up(f"still not done {CLOSING_SECONDS:.0f} s after the end")

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

    def _open(self) -> None:
        self.id = self._backend.open(self._info, self._key, self._started)

    def _gather(self) -> tuple[list[Row], Path | Ending | None]:
        """The rows of about one second, and the file or the ending that came after them."""
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

    def _succeeds(self, call: Callable[..., Any], *arguments: Any) -> bool:
        """Call at most twice; False if both calls failed or the mirror has given up meanwhile."""
        for attempt in (1, 2):
            if self._given_up.is_set():
                break
            try:
                call(*arguments)
                return not self._given_up.is_set()
            except BaseException as error:  # a broken package may raise anything, even SystemExit
                if attempt == 2 or isinstance(error, Hopeless):
                    self._give_up(failure(error))
                else:
                    time.sleep(RETRY_SECONDS)
        return False

    def _give_up(self, why: str) -> None:
        if not self._given_up.is_set():
            self._given_up.set()
            LOG.warning(
                f"{self.name}: {why}; training is not affected and its local record is complete; "
                "to upload it later, type: python -m scaling.track sync "
                f"--results {self._info.directory} --to {self.name}"
            )


def wait_for(mirrors: Iterable[Mirror]) -> None:
    """Wait for the last uploads, `CLOSING_SECONDS` for all mirrors together."""
    deadline = time.monotonic() + CLOSING_SECONDS
    for mirror in mirrors:
        mirror.join(deadline)
