"""Watches the heat of the machine that trains, so that no run is lost to it."""

import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from scaling.config import ThermalConfig
from scaling.machine.sensors import (
    COMMAND_TIMEOUT,
    LEVELS,
    Level,
    Reading,
    Source,
    attempt,
    candidates,
)

HYSTERESIS = 3.0  # degrees Celsius
CONFIRM_SECONDS = 1.0
STUCK_SECONDS = 60.0
ALLOWED_FAILURES = 3


@dataclass
class _Watched:
    source: Source
    failures: int = 0
    celsius: float | None = None
    since: float = 0.0
    stuck: bool = False

    def follow(self, reading: Reading, now: float) -> None:
        if reading.celsius is None or reading.celsius != self.celsius:
            self.celsius, self.since = reading.celsius, now
        self.stuck = now - self.since >= STUCK_SECONDS


def _say(text: str) -> None:
    print(f"thermal: {text}", file=sys.stderr, flush=True)


class ThermalGuard:
    """Polls in one background thread; the training loop looks at `stop_reason`, a plain attribute.

    `sources` None: those of `candidates(device)` that answer now. As a context manager it starts
    and ends the thread; a test calls `poll_once` itself, with a clock of its own.
    """

    def __init__(
        self, config: ThermalConfig, device: str, sources: list[Source] | None = None
    ) -> None:
        self.config = config
        self.stop_reason: str | None = None
        self.latest: Reading | None = None
        self.level: Level = "unknown"
        tried = candidates(device) if sources is None else sources
        if sources is None:
            sources = [source for source in tried if attempt(source)[0] is not None]
        self._watched = [_Watched(source) for source in sources]
        if not sources:
            names = ", ".join(source.name for source in tried) or "none known for this platform"
            _say(f"no sensor found (tried: {names}); training goes on without a thermal guard")
        self._known = 0  # index of the last level that was known: what hysteresis starts from
        self._unconfirmed = False
        self._critical = config.critical
        self._last_poll: float | None = None
        self._seconds: dict[str, float] = dict.fromkeys(("unknown", *LEVELS), 0.0)
        self._count, self._sum, self._min, self._max = 0, 0.0, math.inf, -math.inf
        self._used: list[str] = []
        self._stuck: list[str] = []
        self._paused = 0.0
        self._cool = threading.Event()
        self._cool.set()
        self._pause_spent = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="thermal", daemon=True)

    def __enter__(self) -> "ThermalGuard":
        if self._watched:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._cool.set()
        if self._thread.is_alive():
            self._thread.join(COMMAND_TIMEOUT + 2 * CONFIRM_SECONDS)

    def _poll(self) -> None:
        while not self._end.is_set() and self._watched:
            self._end.wait(self.poll_once(time.monotonic()))

    def poll_once(self, now: float) -> float:
        """Read at clock time `now` (seconds) and act on it; returns seconds until the next poll."""
        if self._last_poll is not None:
            self._seconds[self.level] += now - self._last_poll
        self._last_poll = now
        reading, trusted = self._read(now)
        self.latest = reading
        hot = False
        if reading is None:
            level: Level = "unknown"
        else:
            self._remember(reading)
            index = self._index(reading, margin=0.0)
            hot = LEVELS[index] == "critical"
            if reading.celsius is not None:
                index = max(index, min(self._known, self._index(reading, margin=HYSTERESIS)))
            if hot and not self._unconfirmed and self.level != "critical":
                index = LEVELS.index("warning")
            level = LEVELS[index] if trusted or hot else "unknown"
            if level != "unknown":
                self._known = index
        confirmed = hot and self._unconfirmed
        self._unconfirmed = hot or (reading is None and self._unconfirmed)
        self._change(level, reading, confirmed)
        return self.config.poll_seconds if confirmed or not self._unconfirmed else CONFIRM_SECONDS

    def _read(self, now: float) -> tuple[Reading | None, bool]:
        """The best source's reading and whether it can be trusted, for a stuck one cannot.

        Stuck sources are read on: one that is critical still stops the run, and one that moves
        again gets its place back.
        """
        stuck: list[Reading] = []
        for watched in list(self._watched):
            name = watched.source.name
            reading, problem = attempt(watched.source)
            if reading is None:
                watched.failures += 1
                if watched.failures == ALLOWED_FAILURES:
                    self._watched.remove(watched)
                    left = ", ".join(w.source.name for w in self._watched)
                    _say(
                        f"{name} dropped after {ALLOWED_FAILURES} failures in a row ({problem}); "
                        + (f"left: {left}" if left else "none left, training goes on unguarded")
                    )
                continue
            watched.failures = 0
            watched.follow(reading, now)
            if not watched.stuck:
                hot = [r for r in stuck if LEVELS[self._index(r, margin=0.0)] == "critical"]
                return (hot[0], False) if hot else (reading, True)
            if name not in self._stuck:
                self._stuck.append(name)
                _say(
                    f"{name} has read {reading.celsius} °C for {STUCK_SECONDS:.0f} s under load: "
                    "it may be stuck, trying the next source"
                )
            stuck.append(reading)
        return (max(stuck, key=lambda r: r.celsius or 0.0), False) if stuck else (None, False)

    def _index(self, reading: Reading, margin: float) -> int:
        if reading.celsius is None:
            return LEVELS.index(reading.pressure or "unknown")
        self._critical = min(self.config.critical, reading.limit or math.inf)
        starts = (self.config.acceptable, self.config.warning, self._critical)
        reached = (i for i, t in enumerate(starts, 1) if reading.celsius >= t - margin)
        return max(reached, default=0)

    def _remember(self, reading: Reading) -> None:
        if reading.source not in self._used:
            self._used.append(reading.source)
        if reading.celsius is not None:
            self._count += 1
            self._sum += reading.celsius
            self._min = min(self._min, reading.celsius)
            self._max = max(self._max, reading.celsius)

    def _change(self, level: Level, reading: Reading | None, confirmed: bool) -> None:
        """Say a new level, hold or release the training loop, stop it where that is confirmed."""
        if level != self.level:
            shown = reading or "no reading"
            _say(f"{level}: {shown}" if level in LEVELS else f"level unknown: {shown}")
        self.level = level
        if confirmed and not self.config.log_only and self.stop_reason is None:
            allowed = f", critical is {self._critical:g} °C" if reading and reading.celsius else ""
            self.stop_reason = f"critical heat: {reading}{allowed}"
            _say(f"{self.stop_reason}; stopping")
        if level in ("normal", "acceptable"):
            self._pause_spent = False
            self._cool.set()
        elif self.stop_reason is not None:
            self._cool.set()
        elif level in ("warning", "critical"):
            pauses = self.config.pause_on_warning and not self.config.log_only
            if pauses and not self._pause_spent:
                self._cool.clear()

    def wait_if_hot(self, interrupted: Callable[[], object] = lambda: False) -> float:
        """Hold the training loop while it is too hot, if the config asks; returns seconds held.

        At most `max_pause_seconds`, once until it has cooled; `interrupted` true ends it early.
        """
        if self._cool.is_set():
            return 0.0
        _say(f"pausing, {self.config.max_pause_seconds:g} s at most, until it has cooled")
        start = time.monotonic()
        end = start + self.config.max_pause_seconds
        while not interrupted() and (left := end - time.monotonic()) > 0:
            if self._cool.wait(min(left, 0.2)):  # a signal handler only sets a flag: look at it
                break
        else:
            self._pause_spent = True
            self._cool.set()
        held = time.monotonic() - start
        self._paused += held
        _say(f"going on after a pause of {held:.0f} s, level {self.level}")
        return held

    def summary(self) -> dict[str, Any]:
        """For the run record: degrees Celsius (None where no sensor tells any) and seconds."""
        known = self._count > 0
        return {
            "source": self._used[-1] if self._used else None,
            "sources": list(self._used),
            "stuck": list(self._stuck),
            "min_celsius": self._min if known else None,
            "mean_celsius": self._sum / self._count if known else None,
            "max_celsius": self._max if known else None,
            "seconds": dict(self._seconds),
            "seconds_paused": self._paused,
            "log_only": self.config.log_only,
            "stop_reason": self.stop_reason,
        }
