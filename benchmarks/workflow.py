"""What Snakemake itself costs: planning a grid, running it, finding it done.

A copy of this repository is planned (`--dry-run`), built and asked for again, with a `python` first
on the path that only writes the outputs of the costly commands; features and the check of the
manifest are real. Up to the report, n trainings are 2 n jobs, one search per budget, and 6 more.

    python benchmarks/workflow.py
"""

import argparse
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = ("200k", "600k", "2m", "20m", "200m")
SHIM = """\
#!/bin/sh
case "$2" in
scaling.prepare | scaling.check_data) exec {python} "$@" ;;
scaling.*) ;;
*) exec {python} "$@" ;;
esac
while [ $# -gt 0 ]; do
    case "$1" in
    --output | --record | --predictions) echo '{{}}' >"$2" ;;
    --figures) for name in {figures}; do echo '<svg/>' >"$2/$name.svg"; done ;;
    esac
    shift
done
"""


def copy_of_the_study(folder: Path, trainings: int) -> None:
    """The repository as far as the workflow reads it, a grid of that many trainings, the shim."""
    from scaling.figures.catalogue import figures_of

    ignored = shutil.ignore_patterns("__pycache__", "processed")
    for name in ("scaling", "workflow", "configs", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "environment.yml", folder)
    budgets = BUDGETS[:trainings]
    if trainings % len(budgets):
        sys.exit(f"error: --trainings {trainings}; allowed: up to 5, and multiples of 5")
    seeds = list(range(42, 42 + trainings // len(budgets)))
    (folder / "configs/full.yaml").write_text(
        f"experiments: [daily/threshold_1pct]\nbudgets: [{', '.join(budgets)}]\nseeds: {seeds}\n"
    )
    shim = folder / "bin/python"
    shim.parent.mkdir()
    shim.write_text(
        SHIM.format(
            python=sys.executable, figures=" ".join(figure.name for figure in figures_of(["runs"]))
        )
    )
    shim.chmod(0o755)


def snakemake(folder: Path, *options: str) -> tuple[str, float, float]:
    """What it printed, seconds by the wall's clock, seconds of CPU with all its children."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *options],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = done.stdout + done.stderr
    if done.returncode:
        sys.exit(printed[-4000:])
    return printed, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def row(trainings: int) -> str:
    """One line of the table, wall / CPU seconds in each column."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_study(folder, trainings)
        planned, *plan = snakemake(folder, "--dry-run", "--quiet", "rules")
        _, *run = snakemake(folder)
        again, *nothing = snakemake(folder)
    if "Nothing to be done" not in again:
        sys.exit(f"error: the second run found something to do:\n{again[-4000:]}")
    jobs = max(int(count) for count in re.findall(r"^total\s+(\d+)", planned, re.MULTILINE))
    each = [seconds / jobs for seconds in run]
    cells = [
        *(f"{wall:.1f} / {cpu:.1f}" for wall, cpu in (plan, run)),
        f"{each[0]:.3f} / {each[1]:.3f}",
        f"{nothing[0]:.1f} / {nothing[1]:.1f}",
    ]
    return f"| {trainings:,} | {jobs:,} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trainings", type=int, nargs="+", default=[3, 1000])
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import torch

    from scaling.machine.device import device_name

    print(
        f"{device_name(torch.device('cpu'))}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}, snakemake {version('snakemake')}, {date.today()}, "
        f"load average {os.getloadavg()[0]:.1f}; wall / CPU seconds\n"
    )
    print(
        "| trainings | jobs | dry run | run | run, a job | up to date |\n|---|---|---|---|---|---|"
    )
    for trainings in arguments.trainings:
        print(row(trainings), flush=True)
    print(f"\nload average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
