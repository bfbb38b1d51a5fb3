"""Watches the heat of the machine that trains, so that no run is lost to it.

`python -m scaling.thermal` prints the sources found and what they read now.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from scaling.config import ThermalConfig
from scaling.errors import run_command

Level = Literal["unknown", "normal", "acceptable", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("normal", "acceptable", "warning", "critical")

HYSTERESIS = 3.0  # degrees Celsius
CONFIRM_SECONDS = 1.0
STUCK_SECONDS = 60.0
ALLOWED_FAILURES = 3
COMMAND_TIMEOUT = 5.0  # seconds; a healthy powermetrics or macmon answers in half a second
GPU_MARGIN = 2.0  # degrees Celsius below the temperature at which a GPU slows itself down

# Apple's OSThermalNotification.h, macOS branch: the names powermetrics prints, and in this order
# the numbers 0 to 4 that notifyutil prints.
PRESSURES: dict[str, Level] = {
    "Nominal": "normal",
    "Moderate": "acceptable",
    "Heavy": "warning",
    "Trapping": "critical",
    "Sleeping": "critical",
}
PRESSURE_KEY = "com.apple.system.thermalpressurelevel"
# psutil's names of processor sensors. acpitz is the case or a constant, nvme is a disk.
CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


@dataclass(frozen=True)
class Reading:
    """A temperature (`celsius`) or, where the machine tells no more, a pressure level.

    `limit`: the device's own critical temperature, which caps the configured one.
    `time`: Unix time, in seconds.
    """

    source: str
    celsius: float | None = None
    pressure: Level | None = None
    limit: float | None = None
    time: float = field(default_factory=time.time)

    def __str__(self) -> str:
        heat = f"{self.celsius:.1f} °C" if self.celsius is not None else f"pressure {self.pressure}"
        return f"{heat} ({self.source})"


@dataclass(frozen=True)
class Source:
    """`read` gives a reading, or None where the sensor does not answer. None is never normal."""

    name: str
    read: Callable[[], Reading | None]


def plausible(celsius: float) -> bool:
    """A processor at work: finite, above 10 and at most 130 degrees Celsius."""
    return math.isfinite(celsius) and 10 < celsius <= 130


def attempt(source: Source) -> tuple[Reading | None, str]:
    """One reading, or None and the reason; a broken source must not stop a training."""
    try:
        reading = source.read()
        if reading is None:
            return None, "no reading"
        if reading.celsius is not None and not plausible(reading.celsius):
            return None, f"impossible reading {reading.celsius} °C"
        if reading.celsius is None and reading.pressure not in LEVELS:
            return None, f"neither temperature nor pressure level: {reading.pressure}"
    except Exception as error:  # drivers and libraries raise what they like
        return None, f"{type(error).__name__}: {error}"
    return reading, ""


def _hottest(source: str, temperatures: Iterable[float]) -> Reading | None:
    found = [celsius for celsius in temperatures if plausible(celsius)]
    return Reading(source, celsius=max(found)) if found else None


def _run(*command: str) -> str | None:
    """A command's output; None if it is missing, fails or hangs. It can ask nobody anything."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,  # no terminal to ask for a password at; Ctrl-C is not for it
        )
    except OSError:
        return None
    try:
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired:
        # What sudo started belongs to root and may refuse to die: then it is left, not waited for.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(CONFIRM_SECONDS)
        if process.stdout:
            process.stdout.close()
        return None
    return output if process.returncode == 0 else None


def parse_powermetrics_temperature(text: str) -> Reading | None:
    """`powermetrics --samplers smc` on an Intel Mac; on Apple Silicon it has no such line."""
    found = re.findall(r"^[CG]PU die temperature: ([\d.]+) C", text, re.MULTILINE)
    return _hottest("powermetrics smc", map(float, found))


def parse_powermetrics_pressure(text: str) -> Reading | None:
    """`powermetrics --samplers thermal`."""
    found = re.search(r"^Current pressure level: (\w+)", text, re.MULTILINE)
    level = PRESSURES.get(found[1]) if found else None
    return Reading("powermetrics thermal", pressure=level) if level else None


def parse_macmon(text: str) -> Reading | None:
    """The first line of `macmon pipe`; it writes 0.0 for a sensor that it does not have."""
    temperatures = json.loads(text.splitlines()[0])["temp"]
    found = (float(temperatures[key]) for key in ("cpu_temp_avg", "gpu_temp_avg"))
    return _hottest("macmon", found)


def parse_notifyutil(text: str) -> Reading | None:
    """`notifyutil -g com.apple.system.thermalpressurelevel`: the key, then 0 to 4.

    It answers 0 for a key that nobody publishes, too; macOS on Apple Silicon does publish it.
    """
    found = re.fullmatch(re.escape(PRESSURE_KEY) + r" ([0-4])", text.strip())
    level = list(PRESSURES.values())[int(found[1])] if found else None
    return Reading("notifyutil", pressure=level) if level else None


def _command_source(
    name: str, parse: Callable[[str], Reading | None], command: tuple[str, ...]
) -> Source:
    def read() -> Reading | None:
        output = _run(*command)
        return parse(output) if output else None

    return Source(name, read)


def read_psutil() -> Reading | None:
    """The hottest processor sensor that Linux shows."""
    import psutil

    sensors = psutil.sensors_temperatures()
    found = (entry.current for chip in CPU_CHIPS for entry in sensors.get(chip, []))
    return _hottest("psutil", found)


@functools.cache
def _gpus(nvml: Any) -> list[Any]:
    """The GPU that CUDA computes on, found by its identity, for NVML counts in another order.

    All of them where that fails, on a MIG slice for example: the hottest then counts.
    """
    import torch

    nvml.nvmlInit()
    if torch.cuda.is_available():
        with contextlib.suppress(nvml.NVMLError):
            identity = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
            return [nvml.nvmlDeviceGetHandleByUUID(identity)]
    return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]


def _read_gpu(nvml: Any, gpu: Any) -> Reading:
    """Temperature and the temperature below the GPU's own slowdown, which differs by model."""
    try:
        celsius = float(nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU))
    except (nvml.NVMLError, AttributeError):  # an older driver, an older binding
        celsius = float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
    limit = None
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        limit = celsius + nvml.nvmlDeviceGetMarginTemperature(gpu) - GPU_MARGIN
    with contextlib.suppress(nvml.NVMLError):
        slowdown = nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        limit = nvml.nvmlDeviceGetTemperatureThreshold(gpu, slowdown) - GPU_MARGIN
    return Reading("NVML", celsius=celsius, limit=limit if limit and plausible(limit) else None)


def read_nvidia() -> Reading | None:
    """The GPU that trains."""
    import pynvml

    found = [_read_gpu(pynvml, gpu) for gpu in _gpus(pynvml)]
    return max(found, key=lambda reading: reading.celsius or 0.0, default=None)


def candidates(device: str) -> list[Source]:
    """What could tell the heat of `device` on this platform, best first."""
    sources = [Source("NVML", read_nvidia)] if device.startswith("cuda") else []
    if platform.system() == "Linux":
        sources.append(Source("psutil", read_psutil))
    sample = ("-i", "200", "-n", "1")
    powermetrics = ("sudo", "-n", "powermetrics", "--samplers")
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        command = (*powermetrics, "smc", *sample)
        sources.append(_command_source("powermetrics smc", parse_powermetrics_temperature, command))
    elif platform.system() == "Darwin":
        macmon = ("macmon", "pipe", "-s", "1", "-i", "200")
        notifyutil = ("notifyutil", "-g", PRESSURE_KEY)
        command = (*powermetrics, "thermal", *sample)
        sources.append(_command_source("macmon", parse_macmon, macmon))
        sources.append(_command_source("notifyutil", parse_notifyutil, notifyutil))
        sources.append(
            _command_source("powermetrics thermal", parse_powermetrics_pressure, command)
        )
    return sources


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


def main(argv: list[str] | None = None) -> None:
    """Print every source of this platform and what it reads now."""
    argparse.ArgumentParser(prog="python -m scaling.thermal", description=main.__doc__).parse_args(
        argv
    )
    found = 0
    for source in candidates("cuda"):
        reading, problem = attempt(source)
        found += reading is not None
        print(f"{source.name}: {reading or f'nothing ({problem})'}")
    if found:
        print(f"{found} sensor(s) answer; a training uses the first that fits its device")
    else:
        print(
            "no sensor found: training works, without a thermal guard; "
            "on Apple Silicon, `brew install macmon` adds temperatures"
        )


if __name__ == "__main__":
    run_command(main)
