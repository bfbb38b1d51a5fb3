"""What a machine tells of its heat: sensors and commands of Linux, macOS and NVIDIA."""

import contextlib
import functools
import json
import math
import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["unknown", "normal", "acceptable", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("normal", "acceptable", "warning", "critical")

COMMAND_TIMEOUT = 5.0  # seconds; a healthy powermetrics or macmon answers in half a second
KILL_SECONDS = 1.0  # what a killed command may still take to go
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
            process.wait(KILL_SECONDS)
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
