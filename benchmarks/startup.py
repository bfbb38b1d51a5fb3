"""How long a command takes before it works: `--help`, imports, the first training step.

Fresh processes, the least of several, for a busy machine only ever adds; CPU seconds add less.

    python benchmarks/startup.py
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = (
    "torch",
    "transformers",
    "scaling.training.families.patchtst",
    "scaling.training.trainer",
    "scaling.config",
    "mlflow",
)
COUNT = "import sys; before = len(sys.modules); import {}; print(len(sys.modules) - before)"

# What a training does before it reads data, in one process: what each line adds to those before it.
CHAIN = (
    "import torch",
    "torch.optim.AdamW([torch.zeros(1)])",
    "import transformers",
    "import transformers.modeling_utils",
    "import scaling.training.families.patchtst",
    "import scaling.training.run",
)
IN_TURN = """
import sys, time
for line in sys.argv[1:]:
    before, start = len(sys.modules), time.process_time()
    exec(line)
    print(time.process_time() - start, len(sys.modules) - before)
"""

# Training as it is shipped, ended where its first optimiser step would begin.
FIRST_STEP = """
import os, sys
import scaling.training.trainer
scaling.training.trainer.optimiser_step = lambda *_, **__: os._exit(0)
from scaling.train import main
main(sys.argv[1:])
"""


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(what: str, command: list[str], rounds: int, folder: Path = ROOT) -> str:
    """One line of the table: least wall and CPU seconds, and the modules if the command says."""
    walls, cpus = [], []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), children_cpu()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"| {what} | failed: {done.stderr.strip().splitlines()[-1]} | | |"
        walls.append(time.perf_counter() - start)
        cpus.append(children_cpu() - cpu)
    modules = done.stdout.strip() if done.stdout.strip().isdigit() else ""
    return f"| {what} | {min(walls):.2f} | {min(cpus):.2f} | {modules} |"


def chain(rounds: int) -> list[str]:
    """A row for each line of `CHAIN`: the least CPU seconds that it added, and its modules."""
    tried = []
    for _ in range(rounds):
        command = [sys.executable, "-c", IN_TURN, *CHAIN]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        tried.append([row.split() for row in done.stdout.splitlines()])
    steps = zip(CHAIN, *tried, strict=True)
    return [
        f"| `{line}` | {min(float(seconds) for seconds, _ in found):.2f} | {found[0][1]} |"
        for line, *found in steps
    ]


def study_in(folder: str) -> Path:
    """The shipped configs and prices with their features built, as training finds them."""
    root = Path(folder)
    for part in ("configs", "data/raw", "data/manifest.json", "scaling"):
        (root / part).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, root / part)
    for asset in (root / "data/raw").glob("*.parquet"):
        features = f"data/processed/v1/{asset.stem}_features_a20.parquet"
        subprocess.run(
            [
                *(sys.executable, "-m", "scaling.prepare", "--output", features),
                *("--prices", f"data/raw/{asset.name}", "--manifest", "data/manifest.json"),
            ],
            cwd=root,
            capture_output=True,
            check=True,
        )
    return root


def main(argv: list[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2, help="processes each (default 2)")
    rounds = parser.parse_args(argv).rounds

    sys.path.insert(0, str(ROOT))
    import torch

    from scaling.machine.device import device_name

    print(
        f"{device_name(torch.device('cpu'))}, {os.cpu_count()} cores, python "
        f"{platform.python_version()}, {date.today()}, load average {os.getloadavg()[0]:.1f}\n"
    )
    print("| what | wall s | CPU s | modules |\n|---|---|---|---|")
    print(row("python alone", [sys.executable, "-c", ""], rounds), flush=True)
    for path in sorted((ROOT / "scaling").glob("*.py")):
        if "run_command(main)" in path.read_text():
            name = f"scaling.{path.stem}"
            command = [sys.executable, "-m", name, "--help"]
            print(row(f"python -m {name} --help", command, rounds), flush=True)
    for name in IMPORTS:
        command = [sys.executable, "-c", COUNT.format(name)]
        print(row(f"import {name}", command, rounds), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = study_in(folder)
        for budget in ("200k", "2m"):
            config = ["--config", "configs/daily/threshold_1pct.yaml", "--param-budget", budget]
            command = [sys.executable, "-c", FIRST_STEP, *config]
            print(row(f"training {budget} to its first step", command, rounds, root), flush=True)
    print("\n| one after the other | CPU s | modules |\n|---|---|---|")
    print("\n".join(chain(rounds)))
    print(
        f"\nload average at the end {os.getloadavg()[0]:.1f}; next: copy the table into "
        "benchmarks/README.md, with the line above it"
    )
    return None


if __name__ == "__main__":
    sys.exit(main())
