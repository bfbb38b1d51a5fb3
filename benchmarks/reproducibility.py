"""What gives the same bits, what the same digits, and what another model: whole trainings compared.

    python benchmarks/reproducibility.py --budget 200k

Each row trains the shipped study with one thing changed, evaluates it, and compares with the first.
Figures do not depend on the machine's load. A 200k takes about half a minute a row, a 2M three.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from common import fresh, header, parser, row

CONFIG = "configs/daily/threshold_1pct.yaml"
# What is changed from one process, micro-batch 32, one thread and fp32: a row each.
ROWS: dict[str, dict[str, Any]] = {
    "micro-batch 32, 1 thread": {},
    "the same again": {},
    "micro-batch 16": {"micro_batch": 16},
    "micro-batch 8": {"micro_batch": 8},
    "2 threads": {"threads": 2},
    "2 processes (gloo), micro-batch 16 each": {"micro_batch": 16, "processes": 2},
    "killed (SIGKILL) halfway and resumed": {"kill": True},
    "beside another training": {"beside": True},
    "precision bf16": {"precision": "bf16"},
}


def train_command(folder: Path, budget: str, name: str, changed: dict[str, Any]) -> list[str]:
    """The training of one row as a person would type it."""
    search = folder / f"{name}.batch_size.json"
    search.write_text(json.dumps({"micro_batch": changed.get("micro_batch", 32)}))
    precision = {"precision": changed.get("precision", "fp32")}
    config = yaml.safe_load(Path(CONFIG).read_text()) | precision
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    processes = changed.get("processes", 1)
    launch = [sys.executable, "-m", "scaling.train"]
    if processes > 1:
        torchrun = [str(Path(sys.executable).parent / "torchrun"), "--standalone"]
        launch = [*torchrun, "--nproc-per-node", str(processes), "-m", "--", "scaling.train"]
    return [
        *launch,
        *("--config", str(folder / f"{name}.yaml"), "--param-budget", budget),
        *("--batch-size", str(search), "--output", str(folder / f"{name}.ckpt")),
        *("--threads", str(changed.get("threads", 1)), "--log", str(folder / f"{name}.log")),
    ]


def halfway(name: str) -> bool:
    """Whether the training has saved two states, which it does after its second epoch."""
    return len(list(Path("results/.resume", name).glob("*/*/step-*.state"))) >= 2


def run_row(folder: Path, budget: str, name: str, changed: dict[str, Any]) -> None:
    """Train one row, and evaluate it."""
    command = train_command(folder, budget, name, changed)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    companion = None
    if changed.get("beside"):
        other = train_command(folder, budget, "companion", {})
        companion = subprocess.Popen([*other, "--seed", "43"], **quiet)
    if changed.get("kill"):
        process = subprocess.Popen(command, **quiet)
        while process.poll() is None and not halfway(name):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    fresh(*command)
    if companion:
        companion.wait()
    fresh(
        *(sys.executable, "-m", "scaling.evaluate", "--config", str(folder / f"{name}.yaml")),
        *("--checkpoint", str(folder / f"{name}.ckpt")),
        *("--predictions", str(folder / f"{name}.predictions.parquet")),
        *("--output", str(folder / f"{name}.eval.json")),
    )


def compared(folder: Path, name: str, reference: str) -> tuple[str, str, str, str]:
    """How a row differs from the reference: bits, weights, validation and test log-loss."""
    import torch

    from scaling.training.checkpoint import load

    mine, theirs = (load(folder / f"{n}.ckpt")["last_weights"] for n in (name, reference))
    same = all(torch.equal(mine[key], theirs[key]) for key in theirs)
    distance = max((mine[key] - theirs[key]).abs().max().item() for key in theirs)
    losses = [
        json.loads((folder / f"{n}.eval.json").read_text())["metrics"]["mean"]
        for n in (name, reference)
    ]
    shown = [
        f"{losses[0][block]['log_loss']:.6f} "
        f"({losses[0][block]['log_loss'] - losses[1][block]['log_loss']:+.6f})"
        for block in ("validation", "test")
    ]
    return ("equal" if same else "differ", f"{distance:.1e}", shown[0], shown[1])


def main() -> None:
    """Train every row and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--budget", default="200k", help="default: %(default)s")
    budget = arguments.parse_args().budget
    fresh("snakemake", "--quiet", "--", "results/daily/threshold_1pct/data.md5")
    header(
        "trained with", "bits", "largest weight difference", "validation log-loss", "test log-loss"
    )
    with tempfile.TemporaryDirectory(prefix="reproducibility-") as folder:
        for index, (title, changed) in enumerate(ROWS.items()):
            name = f"row{index}"
            run_row(Path(folder), budget, name, changed)
            row(title, *compared(Path(folder), name, "row0"))
            shutil.rmtree(Path("results/.resume", name))


if __name__ == "__main__":
    main()
