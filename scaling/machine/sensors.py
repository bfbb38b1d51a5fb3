"""Where the heat of this machine is read: sensors and commands of Linux, macOS and NVIDIA."""

import contextlib
import functools
import json
import math
import os
import platform
import re
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["unknown", "normal", "acceptable", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("normal", "acceptable", "warning", "critical")

COMMAND_TIMEOUT = 5.0  # seconds; a healthy powermetrics or macmon answers in half a second
KILL_SECONDS = 1.0  # how long to wait for a killed command to end
GPU_MARGIN = 2.0  # degrees Celsius below the temperature at which a GPU slows itself down

# The keys are the names that powermetrics prints. Their order gives the numbers 0 to 4 that
# notifyutil prints. Source: the macOS branch of Apple's OSThermalNotification.h.
PRESSURES: dict[str, Level] = {
    "Nominal": "normal",
    "Moderate": "acceptable",
    "Heavy": "warning",
    "Trapping": "critical",
    "Sleeping": "critical",
}
POWERMETRICS = "sudo -n powermetrics --samplers {} -i 200 -n 1"
PRESSURE_KEY = "com.apple.system.thermalpressurelevel"
# What psutil calls the sensors of processors. Other names are left out on purpose: acpitz is the
# case or a constant, nvme is a disk.
CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


@dataclass(frozen=True)
class Reading:
    """A temperature (`celsius`), or a `pressure` level if the source gives no temperature.

    `limit` is the device's own critical temperature in degrees Celsius. It lowers the configured
    one.
    """

    source: str
    celsius: float | None = None
    pressure: Level | None = None
    limit: float | None = None

    def __str__(self) -> str:
        heat = f"{self.celsius:.1f} °C" if self.celsius is not None else f"pressure {self.pressure}"
        return f"{heat} ({self.source})"


@dataclass(frozen=True)
class Source:
    """A named sensor. `read` returns None, which never counts as normal, if it does not answer."""

    name: str
    read: Callable[[], Reading | None]


def plausible(celsius: float) -> bool:
    """Whether a processor at work can have this temperature: above 10, at most 130 °C."""
    return math.isfinite(celsius) and 10 < celsius <= 130


def attempt(source: Source) -> tuple[Reading | None, str]:
    """One reading and "", or None and the reason. A broken source must not stop a training."""
    try:
        reading = source.read()
        if reading is None:
            return None, "no reading"
        if reading.celsius is not None and not plausible(reading.celsius):
            return None, f"impossible reading {reading.celsius} °C"
        if reading.celsius is None and reading.pressure not in LEVELS:
            return None, f"neither temperature nor pressure level: {reading.pressure}"
    except Exception as error:  # a driver or a library may raise any type
        return None, f"{type(error).__name__}: {error}"
    return reading, ""


def _hottest(source: str, temperatures: Iterable[float]) -> Reading | None:
    found = [celsius for celsius in temperatures if plausible(celsius)]
    return Reading(source, celsius=max(found)) if found else None


def _run(*command: str) -> str | None:
    """The output of a command that gets no input; None if it is missing, fails or hangs."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            # sudo finds no terminal to ask for a password, and Ctrl-C does not reach the command.
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT)
    except subprocess.TimeoutExpired:
        # A command that sudo started belongs to root, and we may not be allowed to kill it.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=KILL_SECONDS)
        return None
    return output if process.returncode == 0 else None


def parse_powermetrics_temperature(text: str) -> Reading | None:
    """Read `powermetrics --samplers smc` of an Intel Mac. Apple Silicon prints no such line."""
    found = re.findall(r"^[CG]PU die temperature: ([\d.]+) C", text, re.MULTILINE)
    return _hottest("powermetrics smc", map(float, found))


def parse_powermetrics_pressure(text: str) -> Reading | None:
    """Read `powermetrics --samplers thermal`."""
    found = re.search(r"^Current pressure level: (\w+)", text, re.MULTILINE)
    level = PRESSURES.get(found[1]) if found else None
    return Reading("powermetrics thermal", pressure=level) if level else None


def parse_macmon(text: str) -> Reading | None:
    """Read the first line of `macmon pipe`, where 0.0 stands for a sensor that is not there."""
    temperatures = json.loads(text.splitlines()[0])["temp"]
    found = (float(temperatures[key]) for key in ("cpu_temp_avg", "gpu_temp_avg"))
    return _hottest("macmon", found)


def parse_notifyutil(text: str) -> Reading | None:
    """Read `notifyutil -g com.apple.system.thermalpressurelevel`: the key, then a digit 0 to 4.

    notifyutil also answers 0 for a key that nobody publishes. This key is published by macOS on
    Apple Silicon.
    """
    found = re.fullmatch(re.escape(PRESSURE_KEY) + r" ([0-4])", text.strip())
    level = list(PRESSURES.values())[int(found[1])] if found else None
    return Reading("notifyutil", pressure=level) if level else None


# What the sensors of a Mac are read with.
COMMANDS = {
    "powermetrics smc": (parse_powermetrics_temperature, POWERMETRICS.format("smc")),
    "macmon": (parse_macmon, "macmon pipe -s 1 -i 200"),
    "notifyutil": (parse_notifyutil, f"notifyutil -g {PRESSURE_KEY}"),
    "powermetrics thermal": (parse_powermetrics_pressure, POWERMETRICS.format("thermal")),
}


def read_command(name: str) -> Reading | None:
    """What one of `COMMANDS` tells."""
    parse, command = COMMANDS[name]
    output = _run(*command.split())
    return parse(output) if output else None


def read_psutil() -> Reading | None:
    """The hottest of the processor sensors that Linux shows."""
    import psutil

    sensors = psutil.sensors_temperatures()
    found = (entry.current for chip in CPU_CHIPS for entry in sensors.get(chip, []))
    return _hottest("psutil", found)


@functools.cache
def _gpus(nvml: Any) -> list[Any]:
    """NVML's handle of the GPU that CUDA computes on, found by its UUID.

    An index would not do, because NVML and CUDA count GPUs in different orders. If the UUID is not
    known to NVML, on a MIG slice for example, the handles of all GPUs are returned.
    """
    nvml.nvmlInit()  # fails without a driver, before torch costs its two seconds of import

    import torch

    if torch.cuda.is_available():
        with contextlib.suppress(nvml.NVMLError):
            identity = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
            return [nvml.nvmlDeviceGetHandleByUUID(identity)]
    return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]


def _read_gpu(nvml: Any, gpu: Any) -> Reading:
    try:
        celsius = float(nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU))
    except (nvml.NVMLError, AttributeError):  # an older driver or an older Python binding
        celsius = float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
    return Reading("NVML", celsius=celsius, limit=_gpu_limit(nvml, gpu, celsius))


def _gpu_limit(nvml: Any, gpu: Any, celsius: float) -> float | None:
    """`GPU_MARGIN` below the temperature at which this GPU slows itself down; None if not told.

    A driver tells that temperature as a threshold, as the margin that is left, or as both. The
    threshold is preferred.
    """
    slows_down: float | None = None
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        slows_down = celsius + float(nvml.nvmlDeviceGetMarginTemperature(gpu))
    with contextlib.suppress(nvml.NVMLError):
        threshold = nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        slows_down = float(nvml.nvmlDeviceGetTemperatureThreshold(gpu, threshold))
    if slows_down is None or not plausible(slows_down - GPU_MARGIN):
        return None
    return slows_down - GPU_MARGIN


def read_nvidia() -> Reading | None:
    """The GPU that trains; the hottest of all if NVML cannot tell which one that is."""
    import pynvml

    found = [_read_gpu(pynvml, gpu) for gpu in _gpus(pynvml)]
    return max(found, key=lambda reading: reading.celsius or 0.0, default=None)


def candidates(device: str) -> list[Source]:
    """The sources that this platform may have for the heat of `device`, best first."""
    sources = [Source("NVML", read_nvidia)] if device.startswith("cuda") else []
    if platform.system() == "Linux":
        sources.append(Source("psutil", read_psutil))
    if platform.system() == "Darwin":
        first, *others = COMMANDS  # an Intel Mac's, and those of Apple Silicon
        names = [first] if platform.machine() == "x86_64" else others
        sources += [Source(name, functools.partial(read_command, name)) for name in names]
    return sources
