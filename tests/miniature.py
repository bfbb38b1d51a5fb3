"""The real workflow on a small study: 1,400 days of real SPY prices and a 20k-parameter net."""

import contextlib
import importlib
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from scaling.errors import run_command
from tests import preloaded

REPOSITORY = Path(__file__).parent.parent

EXPERIMENT = """\
param_budget: 20k
seed: 42
task: {threshold: 0.01, horizon: 1}
window: {context_length: 16, patch_length: 8, warmup: 15}
splits:
  train: [1993-01-29, 1996-12-31]
  validation: [1997-01-01, 1997-09-30]
  test: [1997-10-01, 1998-06-30]
  min_samples: 100
optimiser:
  batch_size: 32
  epochs: 2
  learning_rate: 0.001
  weight_decay: 0.01
  warmup_fraction: 0.1
  gradient_clip: 1.0
law: {bootstrap_samples: 200}
tracking: {mlflow: false}
"""
MODEL = """\
d_model: {d_model}
layers: {layers}
heads: 2
ffn_dim: {ffn_dim}
dropout: 0.1
"""
# Starts a module as the two processes of one training.
TOGETHER = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
GRID = "experiments: [daily/tiny, daily/other]\nbudgets: [6k, 20k]\nseeds: [42, 43]\n"


def environment(*before: Path) -> dict[str, str]:
    """This process's; `before` and the interpreter's own directory are first on the path.

    Threads that wait do not spin: on a machine that tests keep busy they would take the others'
    time.
    """
    path = [*map(str, before), str(Path(sys.executable).parent), os.environ["PATH"]]
    quiet = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "PYTHONWARNINGS": "default"}
    quiet["OMP_WAIT_POLICY"] = "passive"
    return {**os.environ, "PATH": os.pathsep.join(path), **quiet}


def run(
    directory: Path, *command: str, check: bool = True, forked: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command in a miniature; a failure shows all that it printed.

    `snakemake`, `python` and what they start are forked from the server of tests/preloaded.py.
    """
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(preloaded.commands()) if forked else environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the handlers of signals and of messages that a command in this process sets."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    of_signals = {name: signal.getsignal(name) for name in signals}
    messages = logging.getLogger("scaling")
    of_messages = messages.handlers[:]
    try:
        yield
    finally:
        messages.handlers[:] = of_messages
        for name, handler in of_signals.items():
            signal.signal(name, handler)


def run_here(
    directory: Path, command: str, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """`python -m scaling.<command>` in this process, which has torch already: the same answers.

    Its code is the repository's, whatever stands in the directory.
    """
    main = importlib.import_module(f"scaling.{command}").main
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        handlers_kept(),
        pytest.raises(SystemExit) as ended,
    ):
        run_command(lambda: main(list(arguments)))
    code = int(ended.value.code or 0)
    if check and code:
        raise AssertionError(f"{command} {arguments} exited {code}\n{errors.getvalue()}")
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def register(directory: Path, prices: pd.DataFrame) -> None:
    """Make `prices` the study's registered data, as a user would."""
    prices.to_csv(directory / "prices.csv")
    run_here(directory, "fetch", "SPY", "--source", "file", "prices.csv", "--replace")


def build_features(directory: Path) -> None:
    """The features of the registered prices."""
    files = ("--prices", "data/raw/SPY.parquet", "--manifest", "data/manifest.json")
    run_here(directory, "prepare", *files, "--output", "data/processed/v1/SPY_features_a20.parquet")


def make_miniature(directory: Path) -> Path:
    """Lay out a small study of its own in `directory`, library and workflow copied; returns it."""
    for folder in ("scaling", "workflow"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, directory / folder, ignore=ignored)
    daily, model = directory / "configs/daily", directory / "configs/model"
    daily.mkdir(parents=True)
    model.mkdir()
    (daily / "tiny.yaml").write_text(EXPERIMENT)
    (daily / "other.yaml").write_text(EXPERIMENT.replace("threshold: 0.01", "threshold: 0.008"))
    (model / "patchtst_6k.yaml").write_text(MODEL.format(d_model=16, layers=2, ffn_dim=50))
    (model / "patchtst_20k.yaml").write_text(MODEL.format(d_model=32, layers=2, ffn_dim=80))
    (directory / "configs/full.yaml").write_text(GRID)
    prices = pd.read_parquet(REPOSITORY / "data/raw/SPY.parquet").iloc[:1400]
    register(directory, prices)
    return directory
