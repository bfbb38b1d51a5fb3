"""How long a command takes before it works: `--help`, imports, the first training step.

    python benchmarks/startup.py

Fresh processes, the least of several: a busy machine only ever adds, and to CPU seconds it adds
less.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from common import ROOT, fresh, header, machine, parser, row

IMPORTS = (
    *("torch", "transformers", "transformers.modeling_utils", "scaling.training.families.patchtst"),
    *("scaling.training.trainer", "scaling.config", "mlflow"),
)
COUNT = "import sys; before = len(sys.modules); import {}; print(len(sys.modules) - before)"
# Training as it is shipped, ended where its first optimiser step would begin.
FIRST_STEP = """
import os, sys
import scaling.training.trainer
scaling.training.trainer.optimiser_step = lambda *_, **__: os._exit(0)
from scaling.train import main
main(sys.argv[1:])
"""


def least(what: str, rounds: int, *command: str, folder: Path = ROOT) -> None:
    """Print the least seconds of some processes, and the modules if the command counts them."""
    took = [fresh(sys.executable, *command, folder=folder) for _ in range(rounds)]
    modules = took[0].printed.strip()
    row(
        what,
        f"{min(one.wall for one in took):.2f}",
        f"{min(one.cpu for one in took):.2f}",
        modules if modules.isdigit() else "",
    )


def study_in(folder: Path) -> Path:
    """The shipped configs and prices with their features built, as training finds them."""
    for part in ("configs", "data", "scaling"):
        ignored = shutil.ignore_patterns("__pycache__", "processed")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    features = ("--output", "data/processed/v1/SPY_features_a20.parquet")
    prices = ("--prices", "data/raw/SPY.parquet", "--manifest", "data/manifest.json")
    fresh(sys.executable, "-m", "scaling.prepare", *features, *prices, folder=folder)
    return folder


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=2, help="processes each (default 2)")
    rounds = arguments.parse_args().rounds
    print(f"{machine()}\n")
    header("what", "wall s", "CPU s", "modules")
    least("python alone", rounds, "-c", "")
    for path in sorted((ROOT / "scaling").glob("*.py")):
        if "run_command(main)" in path.read_text():
            name = f"scaling.{path.stem}"
            least(f"python -m {name} --help", rounds, "-m", name, "--help")
    for name in IMPORTS:
        least(f"import {name}", rounds, "-c", COUNT.format(name))
    with tempfile.TemporaryDirectory() as name:
        folder = study_in(Path(name))
        for budget in ("200k", "2m"):
            asked = ("--config", "configs/daily/threshold_1pct.yaml", "--param-budget", budget)
            what = f"training {budget} to its first step"
            least(what, rounds, "-c", FIRST_STEP, *asked, folder=folder)


if __name__ == "__main__":
    main()
