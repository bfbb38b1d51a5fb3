"""How much of the skill is a forecast of the direction, and how much of the size of the move?

    python benchmarks/direction.py

A rise by 1 % is likelier in turbulent times, so a forecaster can have skill without knowing up from
down. This takes the test days on which the close moved by the threshold or more, and asks how well
each forecaster of the built study ranks the rises above the falls there: the AUC, which is 0.5 for
one who does not know. The interval is over days, by the stationary bootstrap of the verdict.
Build the study first: snakemake --configfile configs/laptop.yaml
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scaling.config import load_config
from scaling.data.prices import load_prices
from scaling.law.bootstrap import BOOTSTRAP_SEED, SHORTEST_BLOCK, day_weights

CONFIG = Path("configs/daily/threshold_1pct.yaml")
SAMPLES = 2000


def forecasts(folder: Path) -> pd.DataFrame:
    """The test days' label `y` and a column of probabilities for each forecaster.

    The networks come first, the smallest before the others. Their seeds are averaged.
    """
    rows = []
    for path in sorted(folder.glob("*.predictions.parquet")):
        found = pd.read_parquet(path).query("split == 'test' and train_days == 'all'")
        if "budget" in found:
            found = found[found.weights == "best"].rename(columns={"budget": "model"})
        rows.append(found.reindex(columns=["date", "model", "parameters", "y", "p"]))
    if not rows:
        sys.exit(f"error: {folder} holds no predictions; type: snakemake")
    every = pd.concat(rows).query("model != 'base_rate'")
    names = every.sort_values(["parameters", "model"])["model"].unique()
    table = every.pivot_table(index=["date", "y"], columns="model", values="p")
    return table[names].reset_index("y")


def auc(y: "pd.Series[int]", p: "pd.Series[float]", weights: np.ndarray) -> str:
    """The AUC with its 95 % interval over the bootstrap's day weights [samples, days]."""
    drawn = [roc_auc_score(y, p, sample_weight=w) for w in weights]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{roc_auc_score(y, p):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print a row for each forecaster."""
    parser = argparse.ArgumentParser(prog="python benchmarks/direction.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--results", type=Path, default=Path("results/daily/threshold_1pct"))
    folder = parser.parse_args().results
    config = load_config(CONFIG)
    table = forecasts(folder)
    close = load_prices(config.data.prices)["close"]
    move = (close.shift(-1) / close - 1).reindex(table.index)
    large = (move.abs() >= config.task.threshold).to_numpy()
    weights = day_weights(len(table), SHORTEST_BLOCK, SAMPLES, BOOTSTRAP_SEED)
    rises = int(table.y[large].sum())
    print(f"{len(table):,} test days, {large.sum()} large moves, {rises} of them rises\n")
    print("| forecaster | AUC on all test days | AUC among the large moves |")
    print("|---|---|---|")
    for name in table.columns.drop("y"):
        on_all = auc(table.y, table[name], weights)
        among = auc(table.y[large], table[name][large], weights[:, large])
        print(f"| {name.replace('_', ' ')} | {on_all} | {among} |")


if __name__ == "__main__":
    main()
