"""Watches the heat of the machine that trains, so that no run is lost to it."""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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

LOG = logging.getLogger("scaling.heat")
HYSTERESIS = 3.0  # a level is left this many degrees Celsius below the threshold that started it
STUCK_SECONDS = 60.0  # a processor under load does not hold one temperature for this long
ALLOWED_FAILURES = 3  # a source that fails this often in a row is dropped
CONFIRM_SECONDS = 1.0  # from a critical reading to the one that confirms it
LOOK_SECONDS = 0.2  # how often a paused training checks whether it was interrupted
CRITICAL = LEVELS.index("critical")


def critical_celsius(reading: Reading, config: ThermalConfig) -> float:
    """The configured critical temperature, or the device's own where that is lower."""
    return min(config.critical, reading.limit or math.inf)


def level_index(reading: Reading, config: ThermalConfig, margin: float = 0.0) -> int:
    """The index in `LEVELS` of one reading, with every threshold lowered by `margin` degrees."""
    if reading.celsius is None:
        return LEVELS.index(reading.pressure or "unknown")
    thresholds = (config.acceptable, config.warning, critical_celsius(reading, config))
    reached = (i for i, start in enumerate(thresholds, 1) if reading.celsius >= start - margin)
    return max(reached, default=0)


@dataclass
class _Watched:
    """A source, its failures in a row, its last temperature, and since when it has had that."""

    source: Source
    failures: int = 0
    celsius: float | None = None
    since: float = 0.0

    def is_stuck(self, reading: Reading, now: float) -> bool:
        """Whether the temperature has not moved for `STUCK_SECONDS`. Pressure levels may stay."""
        if reading.celsius is None or reading.celsius != self.celsius:
            self.celsius, self.since = reading.celsius, now
        return now - self.since >= STUCK_SECONDS


class ThermalGuard:
    """Reads the heat in a background thread. The training loop only looks at `stop_reason`.

    As a context manager the guard starts and ends its thread. Tests call `poll_once` instead, with
    times of their own. If `sources` is None, those of `candidates(device)` that answer are used.

    A level starts at its threshold and is left `HYSTERESIS` degrees below it. One critical reading
    is only a warning, because sensors err; a second one in a row stops the run. A source that fails
    `ALLOWED_FAILURES` times in a row is dropped. A stuck source is still read: it is trusted again
    when it moves, and it is believed if it is critical.
    """

    def __init__(
        self, config: ThermalConfig, device: str, sources: list[Source] | None = None
    ) -> None:
        self.config = config
        self.level: Level = "unknown"
        self.stop_reason: str | None = None
        self.latest: Reading | None = None
        found = answering_sources(device) if sources is None else sources
        self._watched = [_Watched(source) for source in found]
        self._last_known = 0  # an index in LEVELS
        self._suspected = self._confirmed = False  # the last reading was critical; the last two
        self._stuck: list[str] = []  # the names of all sources that were stuck at some time
        # What the run record keeps.
        self._seconds: dict[str, float] = dict.fromkeys(("unknown", *LEVELS), 0.0)
        self._polled: float | None = None
        self._sources: list[str] = []
        self._celsius: list[float] = []
        self._paused = 0.0  # seconds
        self._cool = threading.Event()  # while it is not set, the training loop waits
        self._cool.set()
        self._waited = False  # for `max_pause_seconds`, and it has not cooled since
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="thermal", daemon=True)

    def __enter__(self) -> "ThermalGuard":
        if self._watched:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._cool.set()
        if self._thread.is_alive():
            self._thread.join(COMMAND_TIMEOUT + 2 * CONFIRM_SECONDS)

    def _poll(self) -> None:
        while self._watched and not self._end.is_set():
            self._end.wait(self.poll_once(time.monotonic()))

    def poll_once(self, now: float) -> float:
        """Read at clock time `now` (seconds) and act on it; returns seconds until the next poll."""
        before = self.level
        if self._polled is not None:
            self._seconds[before] += now - self._polled
        self._polled = now
        self.latest, trusted = self._read(now)
        self.level = self._level(self.latest, trusted)
        if self.level != before:
            name = "level unknown" if self.level == "unknown" else self.level
            LOG.info(f"thermal: {name}: {self.latest or 'no reading'}")
        self._act()
        awaits_confirmation = self._suspected and not self._confirmed
        return CONFIRM_SECONDS if awaits_confirmation else self.config.poll_seconds

    def _read(self, now: float) -> tuple[Reading | None, bool]:
        """A reading of the best source that is not stuck, and whether it can be trusted.

        A stuck source before it that reads critical heat is chosen instead. If all sources are
        stuck, the hottest is chosen. If none answers, the result is (None, False).
        """
        stuck: list[Reading] = []
        for watched in list(self._watched):
            reading = self._attempt(watched)
            if reading is None:
                continue
            if not watched.is_stuck(reading, now):
                hot = [r for r in stuck if level_index(r, self.config) == CRITICAL]
                return (hot[0], False) if hot else (reading, True)
            stuck.append(reading)
            if (name := watched.source.name) not in self._stuck:
                self._stuck.append(name)
                LOG.warning(
                    f"thermal: {name} has read {reading.celsius} °C for {STUCK_SECONDS:.0f} s "
                    "under load: it may be stuck, trying the next source"
                )
        return max(stuck, key=lambda r: r.celsius or 0.0, default=None), False

    def _attempt(self, watched: _Watched) -> Reading | None:
        reading, problem = attempt(watched.source)
        watched.failures = 0 if reading else watched.failures + 1
        if watched.failures == ALLOWED_FAILURES:
            self._watched.remove(watched)
            left = ", ".join(other.source.name for other in self._watched)
            LOG.warning(
                f"thermal: {watched.source.name} dropped after {ALLOWED_FAILURES} failures in a "
                f"row ({problem}); "
                + (f"left: {left}" if left else "none left, training goes on unguarded")
            )
        return reading

    def _level(self, reading: Reading | None, trusted: bool) -> Level:
        """The level that the readings have reached.

        A missed reading does not end a suspicion. A reading that cannot be trusted counts only if
        it is critical.
        """
        if reading is None:
            self._confirmed = False
            return "unknown"
        if reading.source not in self._sources:
            self._sources.append(reading.source)
        index = level_index(reading, self.config)
        critical = index == CRITICAL
        if reading.celsius is not None:
            self._celsius.append(reading.celsius)
            kept = level_index(reading, self.config, margin=HYSTERESIS)
            index = max(index, min(self._last_known, kept))
        if critical and not self._suspected and self.level != "critical":
            index = LEVELS.index("warning")
        self._confirmed = critical and self._suspected
        self._suspected = critical
        if not (trusted or critical):
            return "unknown"
        self._last_known = index
        return LEVELS[index]

    def _act(self) -> None:
        """Stop the run if critical heat is confirmed; begin or end a pause."""
        config = self.config
        may_pause = config.pause_on_warning and not (config.log_only or self._waited)
        if self._confirmed and not config.log_only and self.stop_reason is None:
            threshold = ""
            if self.latest is not None and self.latest.celsius is not None:
                threshold = f", critical is {critical_celsius(self.latest, config):g} °C"
            self.stop_reason = f"critical heat: {self.latest}{threshold}"
            LOG.warning(f"thermal: {self.stop_reason}; stopping")
        if self.level in ("normal", "acceptable"):
            self._cool.set()
            self._waited = False
        elif self.stop_reason is not None:
            self._cool.set()  # so that a waiting training loop can stop
        elif self.level != "unknown" and may_pause:
            self._cool.clear()

    def wait_if_hot(self, interrupted: Callable[[], object] = lambda: False) -> float:
        """Hold the training loop while it is too hot, if the config asks for it.

        Returns the seconds held, `max_pause_seconds` at most. After that there is no other pause
        until the machine has cooled. When `interrupted()` is true the wait ends early.
        """
        if self._cool.is_set():
            return 0.0
        longest = self.config.max_pause_seconds
        LOG.info(f"thermal: pausing, {longest:g} s at most, until it has cooled")
        start = time.monotonic()
        while (left := start + longest - time.monotonic()) > 0 and not interrupted():
            # A signal handler only sets a flag, so the flag is checked every LOOK_SECONDS.
            if self._cool.wait(min(left, LOOK_SECONDS)):
                break
        else:
            self._waited = True
            self._cool.set()
        held = time.monotonic() - start
        self._paused += held
        LOG.info(f"thermal: going on after a pause of {held:.0f} s, level {self.level}")
        return held

    def summary(self) -> dict[str, Any]:
        """What the run record keeps: the sources' names, degrees Celsius, seconds.

        Temperatures are None if no source gave any.
        """
        celsius = self._celsius
        return {
            "sources": list(self._sources),
            "min_celsius": min(celsius, default=None),
            "mean_celsius": sum(celsius) / len(celsius) if celsius else None,
            "max_celsius": max(celsius, default=None),
            "seconds": dict(self._seconds),
            "stuck": list(self._stuck),
            "seconds_paused": self._paused,
        }


def answering_sources(device: str) -> list[Source]:
    """The sources for `device` that answer now; if there are none, one line says so."""
    tried = candidates(device)
    answering = [source for source in tried if attempt(source)[0] is not None]
    if not answering:
        names = ", ".join(source.name for source in tried) or "none known for this platform"
        LOG.warning(
            f"thermal: no sensor found (tried: {names}); training goes on without a thermal guard"
        )
    return answering
