"""A small study whose doors are tried in one process: random prices, and networks of 1k weights.

The fixtures `trained` and `study` in tests/conftest.py lay it out; tests/miniature.py is the real
workflow on real prices.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from scaling import evaluate, prepare, train
from scaling.data.manifest import register
from scaling.record import read_json, write_parquet
from scaling.training import checkpoint
from tests.conftest import random_prices

CONFIG = Path("configs/daily/tiny.yaml")
PRICES, MANIFEST = Path("data/raw/SPY.parquet"), Path("data/manifest.json")
FEATURES = Path("data/processed/v1/SPY_features_a20.parquet")
# Two seeds of one network: the names of their runs, and their checkpoints.
RUNS = ("1k", "1k.seed2")
FIRST, SECOND = (f"results/{run}.ckpt" for run in RUNS)
MODEL = {
    "d_model": 8,
    "layers": 1,
    "heads": 2,
    "ffn_dim": 26,
    "dropout": 0.0,
}
DAYS = [str(day.date()) for day in random_prices(rows=1100).index]
EXPERIMENT: dict[str, Any] = {
    "param_budget": "1k",
    "seed": 1,
    "device": "cpu",
    "task": {"threshold": 0.01, "horizon": 1},
    "window": {"context_length": 16, "patch_length": 8, "warmup": 15},
    "splits": {
        "train": [DAYS[0], DAYS[700]],
        "validation": [DAYS[701], DAYS[900]],
        "test": [DAYS[901], DAYS[-1]],
        "min_samples": 100,
    },
    "optimiser": {
        "batch_size": 64,
        "epochs": 2,
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "warmup_fraction": 0.1,
        "gradient_clip": 1.0,
    },
    "tracking": {"mlflow": False},
    "thermal": {"log_only": True},
}


def write_config(**changes: Any) -> Path:
    """The study's config, with other values for some of its keys."""
    CONFIG.write_text(yaml.safe_dump({**EXPERIMENT, **changes}))
    return CONFIG


def register_prices(prices: Any) -> None:
    """Write and register prices; features that are there stay as they are."""
    write_parquet(PRICES, prices)
    days = [str(day.date()) for day in prices.index]
    counts = {"rows": len(days), "first_date": days[0], "last_date": days[-1]}
    register(PRICES, MANIFEST, **counts, origin="a random walk")


def build_features() -> None:
    """The features of the registered prices."""
    files = ["--prices", str(PRICES), "--manifest", str(MANIFEST)]
    prepare.main([*files, "--output", str(FEATURES)])


def train_it(path: str = FIRST, *options: str) -> None:
    """Train the network of the config."""
    train.main(["--config", str(CONFIG), "--threads", "1", "--output", path, *options])


def evaluate_it(path: str = FIRST, name: str = "1k") -> dict[str, Any]:
    """Evaluate a checkpoint; what is said of it."""
    evaluate.main(
        [
            *("--config", str(CONFIG), "--checkpoint", path),
            *("--predictions", f"results/{name}.predictions.parquet"),
            *("--output", f"results/{name}.eval.json"),
        ]
    )
    return dict(read_json(f"results/{name}.eval.json"))


def checks_of(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What an evaluation found, by the names of its checks."""
    return {check["name"]: check for check in evaluation["checks"]}


def make_study() -> None:
    """Prices, features, config and two trained and evaluated seeds, in the working directory."""
    for folder in ("daily", "model"):
        Path("configs", folder).mkdir(parents=True)
    Path("configs/model/patchtst_1k.yaml").write_text(yaml.safe_dump(MODEL))
    register_prices(random_prices(rows=1100))
    build_features()
    write_config()
    train_it()
    train_it(SECOND, "--seed", "2")
    for path, run in zip((FIRST, SECOND), RUNS, strict=True):
        evaluate_it(path, run)


def changed_record(change: Callable[[dict[str, Any]], None]) -> str:
    """The first checkpoint with something else in its record; its path."""
    content = checkpoint.load(FIRST)
    record = checkpoint.record_of(content)
    change(record)
    checkpoint.save("results/changed.ckpt", {**content, "record": json.dumps(record)})
    return "results/changed.ckpt"
