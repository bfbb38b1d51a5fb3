"""What readings mean: which source to believe, how hot that is, and what the run record keeps."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling.config import ThermalConfig
from scaling.machine.sensors import LEVELS, Level, Reading, Source, attempt

LOG = logging.getLogger("scaling.heat")
HYSTERESIS = 3.0  # a level is left this many degrees Celsius below the threshold that started it
STUCK_SECONDS = 60.0  # a processor under load does not hold one temperature for this long
ALLOWED_FAILURES = 3  # a source that fails this often in a row is dropped


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


def is_critical(reading: Reading, config: ThermalConfig) -> bool:
    """Whether this reading alone is critical."""
    return LEVELS[level_index(reading, config)] == "critical"


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


class SourceChoice:
    """Reads sources in the order of preference and chooses the reading to act on.

    A source that fails `ALLOWED_FAILURES` times in a row is dropped. A source that is stuck is not
    trusted, but it is still read. It is trusted again when it moves, and it is believed if it is
    critical.
    """

    def __init__(self, sources: Sequence[Source], config: ThermalConfig) -> None:
        self._watched = [_Watched(source) for source in sources]
        self._config = config
        self.stuck: list[str] = []  # the names of all sources that were stuck at some time

    def __len__(self) -> int:
        return len(self._watched)

    def read(self, now: float) -> tuple[Reading | None, bool]:
        """The reading at clock time `now` in seconds, and whether its source can be trusted.

        The first source that is not stuck is chosen, unless a stuck source before it reads critical
        heat. If all sources are stuck, the hottest is chosen. If none answers, the result is
        (None, False).
        """
        stuck: list[Reading] = []
        for watched in list(self._watched):
            reading = self._read(watched)
            if reading is None:
                continue
            if not watched.is_stuck(reading, now):
                critical = [r for r in stuck if is_critical(r, self._config)]
                return (critical[0], False) if critical else (reading, True)
            self._tell_stuck(reading, watched.source.name)
            stuck.append(reading)
        return max(stuck, key=lambda r: r.celsius or 0.0, default=None), False

    def _read(self, watched: _Watched) -> Reading | None:
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

    def _tell_stuck(self, reading: Reading, name: str) -> None:
        if name not in self.stuck:
            self.stuck.append(name)
            LOG.warning(
                f"thermal: {name} has read {reading.celsius} °C for {STUCK_SECONDS:.0f} s under "
                "load: it may be stuck, trying the next source"
            )


class HeatLevel:
    """The level that a series of readings has reached.

    A level starts at its threshold and is left `HYSTERESIS` degrees below it. One critical reading
    is only a warning, because sensors err. A second one in a row makes the level critical.
    """

    def __init__(self, config: ThermalConfig) -> None:
        self.level: Level = "unknown"
        self.suspected = False  # the last reading was critical
        self.confirmed = False  # the last reading and the one before it were critical
        self._config = config
        self._last_known = 0  # an index in LEVELS

    def follow(self, reading: Reading | None, trusted: bool) -> None:
        """Take the next reading into account; without one the level is unknown.

        A missed reading does not end a suspicion. A reading that cannot be trusted counts only if
        it is critical.
        """
        if reading is None:
            self.level, self.confirmed = "unknown", False
            return
        critical = is_critical(reading, self._config)
        index = self._index(reading)
        if critical and not self.suspected and self.level != "critical":
            index = LEVELS.index("warning")
        self.confirmed = critical and self.suspected
        self.suspected = critical
        if trusted or critical:
            self.level, self._last_known = LEVELS[index], index
        else:
            self.level = "unknown"

    def _index(self, reading: Reading) -> int:
        index = level_index(reading, self._config)
        if reading.celsius is None:
            return index
        kept = level_index(reading, self._config, margin=HYSTERESIS)
        return max(index, min(self._last_known, kept))


class HeatStatistics:
    """Extremes and mean in degrees Celsius, and the seconds that were spent at each level."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(("unknown", *LEVELS), 0.0)
        self._sources: list[str] = []
        self._last: float | None = None
        self._count, self._sum = 0, 0.0
        self._min, self._max = math.inf, -math.inf

    def spend(self, level: Level, now: float) -> None:
        """Count the seconds from the last call until clock time `now` as spent at `level`."""
        if self._last is not None:
            self._seconds[level] += now - self._last
        self._last = now

    def add(self, reading: Reading) -> None:
        """Count one reading."""
        if reading.source not in self._sources:
            self._sources.append(reading.source)
        if reading.celsius is not None:
            self._count += 1
            self._sum += reading.celsius
            self._min = min(self._min, reading.celsius)
            self._max = max(self._max, reading.celsius)

    def summary(self) -> dict[str, Any]:
        """What was counted, ready for JSON. Temperatures are None if no source gave any."""
        known = self._count > 0
        return {
            "source": self._sources[-1] if self._sources else None,
            "sources": list(self._sources),
            "min_celsius": self._min if known else None,
            "mean_celsius": self._sum / self._count if known else None,
            "max_celsius": self._max if known else None,
            "seconds": dict(self._seconds),
        }
