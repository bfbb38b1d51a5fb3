"""Features, labels and windows for 10 thousand to 10 million rows: are time and memory linear?

A fresh process per stage and size; each builds its rows first, untimed. Seconds are the CPU's,
the least over rounds; memory is the peak resident size, its rows included.

    python benchmarks/data.py

The rows are synthetic and go through every check that real ones do. Prices must lie on business
days: 10 million of those reach the year 38331, which dates of pandas in seconds hold. Files and
`load_study` are left out: the splits of a config end with the year 9999, at 2.6 million rows.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONTEXT, BATCH = 64, 32  # as shipped
CHANNELS = 20
Timed = Callable[[], Any]


def peak_memory() -> int:
    """Bytes; Linux counts in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def walk(rows: int) -> Any:
    """Closes of a random walk, 1 % a day, reflected so that it stays within 37 and 272."""
    import numpy as np

    steps = np.random.default_rng(0).normal(0, 0.01, rows)
    np.cumsum(steps, out=steps)
    return 100 * np.exp(np.abs(steps % 4 - 2) - 1)


def business_days(rows: int) -> Any:
    import numpy as np

    return np.busday_offset(np.datetime64("0001-01-01"), np.arange(rows), roll="forward")


def features(rows: int) -> Timed:
    """Prices checked as on entry, and the 20 indicators."""
    import numpy as np
    import pandas as pd

    from scaling.data.features import build_features
    from scaling.data.prices import check_prices

    generator = np.random.default_rng(1)
    close = walk(rows)
    opened = close * (1 + generator.normal(0, 0.003, rows))
    prices = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * (1 + 0.01 * generator.random(rows)),
            "low": np.minimum(opened, close) * (1 - 0.01 * generator.random(rows)),
            "close": close,
            "volume": generator.integers(10**6, 10**8, rows),
        },
        index=pd.DatetimeIndex(business_days(rows).astype("datetime64[s]"), name="date"),
    )
    return lambda: build_features(check_prices(prices, "synthetic prices"))


def labels(rows: int) -> Timed:
    """Threshold labels, horizon 5."""
    from scaling.data.dataset import threshold_labels

    close = walk(rows)
    return lambda: threshold_labels(close, 0.01, 5)


def label_hash(rows: int) -> Timed:
    """What ties a run to its labels: a digest of all days and labels."""
    import numpy as np

    from scaling.data.dataset import label_hash

    dates, answers = business_days(rows), np.resize(np.array([0, 1, 1], dtype=np.int8), rows)
    return lambda: label_hash(dates, answers)


def windows(rows: int) -> Timed:
    """Normalise, build the dataset, and one epoch of shuffled batches."""
    import torch

    from scaling.data.dataset import Normaliser, WindowDataset

    raw, close = torch.randn(rows, CHANNELS), walk(rows)

    def epoch() -> None:
        normaliser = Normaliser.fit(raw, [str(channel) for channel in range(CHANNELS)])
        dataset = WindowDataset(
            normaliser(raw),
            close,
            context_length=CONTEXT,
            warmup=CONTEXT - 1,
            threshold=0.01,
            horizon=1,
        )
        order = torch.randperm(len(dataset)).add_(dataset.warmup)
        for days in order.split(BATCH):
            dataset.batch(days)

    return epoch


STAGES = {"features": features, "labels": labels, "label hash": label_hash, "windows": windows}


def worker(stage: str, rows: int) -> dict[str, float]:
    import pandas  # noqa: F401  (before memory is read, like the other imports)

    import scaling.data.dataset
    import scaling.data.features  # noqa: F401

    before = peak_memory()
    timed = STAGES[stage](rows)
    cpu, start = time.process_time(), time.perf_counter()
    timed()
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - start,
        "peak": peak_memory(),
        "grown": peak_memory() - before,
    }


def measure(stage: str, rows: int) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--worker", stage, str(rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{stage}, {rows:,} rows: ended with {done.returncode}\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main(argv: list[str] | None = None) -> int | None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="+", type=int, default=[10**4, 10**5, 10**6, 10**7], help="sizes"
    )
    parser.add_argument("--rounds", type=int, default=2, help="processes each (default 2)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        stage, rows = arguments.worker
        print(json.dumps(worker(stage, int(rows))))
        return None

    import importlib.metadata

    sys.path.insert(0, str(ROOT))
    import torch

    from scaling.machine.device import device_name

    packages = ("numpy", "pandas", "ta-lib", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{device_name(torch.device('cpu'))}, one thread of {os.cpu_count()} cores, "
        f"{versions}, python {platform.python_version()}, {date.today()}, load average "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| stage | rows | CPU s | wall s | CPU s a million rows | peak MiB | bytes a row |\n"
        "|---|---|---|---|---|---|---|"
    )
    for stage in STAGES:
        for rows in arguments.rows:
            found = [measure(stage, rows) for _ in range(arguments.rounds)]
            cpu, wall, peak, grown = (
                min(one[name] for one in found) for name in ("cpu", "wall", "peak", "grown")
            )
            print(
                f"| {stage} | {rows:,} | {cpu:.3f} | {wall:.3f} | {cpu / rows * 1e6:.2f} "
                f"| {peak / 2**20:,.0f} | {grown / rows:,.0f} |",
                flush=True,
            )
    print(
        f"\nload average at the end {os.getloadavg()[0]:.1f}; next: copy the table into "
        "benchmarks/README.md, with the line above it"
    )
    return None


if __name__ == "__main__":
    sys.exit(main())
