"""What the benchmarks share: their arguments, the line about the machine, tables, processes."""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class Took(NamedTuple):
    """What a command printed, and its seconds by the wall's clock and of all its CPU time."""

    printed: str
    wall: float
    cpu: float


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the benchmark's docstring as it stands."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def machine(*packages: str, device: str = "cpu") -> str:
    """The device, the cores, the versions, the date and the load, for the line over a table."""
    import torch

    from scaling.machine.device import device_name

    versions = "".join(f", {name} {version(name)}" for name in packages)
    return (
        f"{device_name(torch.device(device))}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}{versions}, {date.today()}, load average "
        f"{os.getloadavg()[0]:.1f}"
    )


def row(*cells: object) -> None:
    """Print a line of a table at once: a benchmark takes minutes."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def header(*names: str) -> None:
    """Print the head of a table."""
    row(*names)
    print("|---" * len(names) + "|", flush=True)


def fresh(*command: str, folder: Path = ROOT, **variables: str) -> Took:
    """Run a command in a process of its own. If it fails, the benchmark ends with what it said."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        said = (done.stdout + done.stderr)[-4000:]
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{said}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(done.stdout, wall, cpu)
