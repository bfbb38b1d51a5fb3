"""Watches the heat of the machine that trains, so that no run is lost to it."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from scaling.config import ThermalConfig
from scaling.machine.heat import LOG, HeatLevel, HeatStatistics, SourceChoice, critical_celsius
from scaling.machine.sensors import COMMAND_TIMEOUT, Level, Reading, Source, attempt, candidates

CONFIRM_SECONDS = 1.0  # from a critical reading to the one that confirms it
LOOK_SECONDS = 0.2  # how often a paused training checks whether it was interrupted


class Pause:
    """Holds the training loop while the machine is too hot.

    One thread calls `begin` and `end`, the training loop calls `wait`. A pause lasts `longest`
    seconds at most. After that there is no other one until the machine has cooled.
    """

    def __init__(self, longest: float) -> None:
        self.seconds = 0.0  # how long the loop was held, all pauses together
        self._longest = longest
        self._over = threading.Event()
        self._over.set()
        self._spent = False

    @property
    def wanted(self) -> bool:
        """Whether the training loop is to wait."""
        return not self._over.is_set()

    def begin(self) -> None:
        """Ask the training loop to wait, unless it has waited `longest` seconds for this heat."""
        if not self._spent:
            self._over.clear()

    def end(self, cooled: bool) -> None:
        """Let the training loop go on. Once it has `cooled`, there may be another pause."""
        self._over.set()
        if cooled:
            self._spent = False

    def wait(self, interrupted: Callable[[], object]) -> float:
        """Return when the pause ends or `interrupted()` is true; the result is the seconds held."""
        start = time.monotonic()
        while (left := start + self._longest - time.monotonic()) > 0 and not interrupted():
            # A signal handler only sets a flag, so the flag is checked every LOOK_SECONDS.
            if self._over.wait(min(left, LOOK_SECONDS)):
                break
        else:
            self._spent = True
            self._over.set()
        held = time.monotonic() - start
        self.seconds += held
        return held


class ThermalGuard:
    """Reads the heat in a background thread. The training loop only looks at `stop_reason`.

    As a context manager the guard starts and ends its thread. Tests call `poll_once` instead, with
    times of their own. If `sources` is None, those of `candidates(device)` that answer are used.
    """

    def __init__(
        self, config: ThermalConfig, device: str, sources: list[Source] | None = None
    ) -> None:
        self.config = config
        self.stop_reason: str | None = None
        self.latest: Reading | None = None
        self.pause = Pause(config.max_pause_seconds)
        self._sources = SourceChoice(
            answering_sources(device) if sources is None else sources, config
        )
        self._heat = HeatLevel(config)
        self._statistics = HeatStatistics()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="thermal", daemon=True)

    @property
    def level(self) -> Level:
        """The level that the readings have reached."""
        return self._heat.level

    def __enter__(self) -> "ThermalGuard":
        if self._sources:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self.pause.end(cooled=False)
        if self._thread.is_alive():
            self._thread.join(COMMAND_TIMEOUT + 2 * CONFIRM_SECONDS)

    def _poll(self) -> None:
        while self._sources and not self._end.is_set():
            self._end.wait(self.poll_once(time.monotonic()))

    def poll_once(self, now: float) -> float:
        """Read at clock time `now` (seconds) and act on it; returns seconds until the next poll."""
        before = self.level
        self._statistics.spend(before, now)
        self.latest, trusted = self._sources.read(now)
        if self.latest is not None:
            self._statistics.add(self.latest)
        self._heat.follow(self.latest, trusted)
        if self.level != before:
            name = "level unknown" if self.level == "unknown" else self.level
            LOG.info(f"thermal: {name}: {self.latest or 'no reading'}")
        self._act()
        awaits_confirmation = self._heat.suspected and not self._heat.confirmed
        return CONFIRM_SECONDS if awaits_confirmation else self.config.poll_seconds

    def _act(self) -> None:
        """Stop the run if critical heat is confirmed; begin or end a pause."""
        config = self.config
        if self._heat.confirmed and not config.log_only and self.stop_reason is None:
            self._stop()
        if self.level in ("normal", "acceptable"):
            self.pause.end(cooled=True)
        elif self.stop_reason is not None:
            self.pause.end(cooled=False)  # so that a waiting training loop can stop
        elif self.level != "unknown" and config.pause_on_warning and not config.log_only:
            self.pause.begin()

    def _stop(self) -> None:
        threshold = ""
        if self.latest is not None and self.latest.celsius is not None:
            threshold = f", critical is {critical_celsius(self.latest, self.config):g} °C"
        self.stop_reason = f"critical heat: {self.latest}{threshold}"
        LOG.warning(f"thermal: {self.stop_reason}; stopping")

    def wait_if_hot(self, interrupted: Callable[[], object] = lambda: False) -> float:
        """Hold the training loop while it is too hot, if the config asks for it.

        Returns the seconds held, `max_pause_seconds` at most. When `interrupted()` is true the
        wait ends early.
        """
        if not self.pause.wanted:
            return 0.0
        LOG.info(
            f"thermal: pausing, {self.config.max_pause_seconds:g} s at most, until it has cooled"
        )
        held = self.pause.wait(interrupted)
        LOG.info(f"thermal: going on after a pause of {held:.0f} s, level {self.level}")
        return held

    def summary(self) -> dict[str, Any]:
        """What the run record keeps: degrees Celsius, seconds, and the reason of a stop."""
        return {
            **self._statistics.summary(),
            "stuck": list(self._sources.stuck),
            "seconds_paused": self.pause.seconds,
            "log_only": self.config.log_only,
            "stop_reason": self.stop_reason,
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
