"""Training throughput: the trainer's own step, and the loop one would write with the same network.

    python benchmarks/throughput.py --budget 2m

Fresh processes, interleaved round by round, so that a busy machine slows all alike. Every figure is
the median over rounds, every ratio the median of the rounds' own ratios (over naive fp32: of the
medians, because precisions are measured one after the other). `naive` is Hugging Face's model in a
DataLoader loop, with the same batches and clipping.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from common import fresh, header, machine, parser, row

SHIPPED = "configs/daily/threshold_1pct.yaml"
CHANNELS = 20
# Until then a process still asks the kernel for its first pages: faults stop after 4 steps.
WARM_UP = 5

Cell = dict[str, Any]
"""What one process measures: who, budget, device, batch, threads, steps, context, patch, precision,
dropout."""
Step = Callable[[], None]


def asked(argv: list[str] | None = None) -> argparse.Namespace:
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("--budget", default="2m", help="default: %(default)s")
    add("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    add("--batch", type=int, default=32, help="windows a step (default 32)")
    add("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    add("--rounds", type=int, default=3, help="fresh processes of each kind (default 3)")
    add("--steps", type=int, default=4, help="timed steps a process (default 4)")
    add("--worker", type=json.loads, help=argparse.SUPPRESS)
    return arguments.parse_args(argv)


def shape_and_window(cell: Cell) -> tuple[Any, Any]:
    """The shape of the cell's size with the cell's dropout, and its window."""
    from scaling.config import WindowConfig
    from scaling.sizes import load_model_config

    shape = dataclasses.replace(load_model_config(cell["budget"]), dropout=cell["dropout"])
    return shape, WindowConfig(cell["context"], cell["patch"], cell["context"] - 1)


def random_windows(samples: int, window: Any) -> Any:
    """A dataset of that many samples, of random features and prices."""
    import numpy as np
    import torch

    from scaling.data.dataset import WindowDataset

    rows = samples + window.warmup + 1
    return WindowDataset(
        torch.randn(rows, CHANNELS),
        np.exp(np.random.default_rng(0).normal(0, 0.01, rows)),
        context_length=window.context_length,
        warmup=window.warmup,
        threshold=0.01,
        horizon=1,
    )


def ours(cell: Cell, device: Any, after_step: Step) -> Any:
    """The steps of a training; returns the network. If the cell is `plain`, nothing is recorded."""
    import torch

    from scaling.config import load_config
    from scaling.machine.processes import ALONE
    from scaling.training.capture import Captured
    from scaling.training.model import build_model
    from scaling.training.step import optimiser_step, prepared
    from scaling.training.transfer import make_optimiser, set_learning_rate

    shape, window = shape_and_window(cell)
    config = load_config(SHIPPED).optimiser
    samples = cell["batch"] * (cell["steps"] + WARM_UP)
    dataset = random_windows(samples, window).to(device)
    model = build_model(shape, window, CHANNELS)
    days = torch.randperm(samples).add(window.warmup).to(device).split(cell["batch"])
    if cell["who"] == "plain":
        stepped = ALONE.wrap(model, device)
    else:
        stepped = prepared(model, dataset, days[0], cell["precision"])
        if device.type == "cuda" and not isinstance(stepped, Captured):
            raise RuntimeError("the step was not captured as a CUDA graph; the log says why")
    optimiser = make_optimiser(model, shape, config)
    set_learning_rate(optimiser, 1e-4)
    for step, batch in enumerate(days):
        optimiser_step(
            stepped,
            optimiser,
            dataset,
            batch,
            micro_batch=cell["batch"],
            precision=cell["precision"],
            gradient_clip=config.gradient_clip,
            seed=0,
            step=step,
        )
        after_step()
    return model


def naive(cell: Cell, device: Any, after_step: Step) -> Any:
    """The same number of steps of Hugging Face's own model; returns it."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torch.utils.data import DataLoader, TensorDataset
    from transformers import PatchTSTForClassification

    from scaling.machine.device import autocast
    from scaling.training.families.patchtst import hf_config

    shape, window = shape_and_window(cell)
    samples = cell["batch"] * (cell["steps"] + WARM_UP)
    windows = torch.randn(samples, window.context_length, CHANNELS)
    data = TensorDataset(windows, torch.rand(samples, 1).round())
    model = PatchTSTForClassification(hf_config(shape, window, CHANNELS)).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for x, y in DataLoader(data, batch_size=cell["batch"], shuffle=True):
        with autocast(device, cell["precision"]):
            logits = model(past_values=x.to(device)).prediction_logits
        binary_cross_entropy_with_logits(logits.float(), y.to(device)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        after_step()
    return model


def synchronise(device: Any) -> None:
    """Wait until the device has done what it was asked."""
    import torch

    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def timed(cell: Cell) -> tuple[dict[str, float], Any]:
    """Median seconds a step by the wall's clock and of the CPU, and the network after them."""
    import torch

    from scaling.machine.device import tune

    torch.manual_seed(0)
    device = torch.device(cell["device"])
    marks: list[tuple[float, float]] = []

    def after_step() -> None:
        synchronise(device)
        marks.append((time.perf_counter(), time.process_time()))

    if cell["who"] != "naive":
        tune(device)
    model = (naive if cell["who"] == "naive" else ours)(cell, device, after_step)
    pairs = list(zip(marks[WARM_UP - 1 :], marks[WARM_UP:], strict=False))
    seconds = {
        name: median(after[clock] - before[clock] for before, after in pairs)
        for clock, name in enumerate(("wall", "cpu"))
    }
    return seconds, model


def matmul_peak(cell: Cell) -> dict[str, float]:
    """FLOP/s by either clock: the better of the step's largest product and a square one."""
    import torch

    from scaling.machine.device import tune

    device = torch.device(cell["device"])
    tune(device)
    shape, _ = shape_and_window(cell)
    side = 1536 if device.type == "cpu" else 8192  # enough for the machine's own peak
    dtype = torch.bfloat16 if cell["precision"] == "bf16" else torch.float32
    tokens = cell["batch"] * CHANNELS * cell["context"] // cell["patch"]
    best = {"wall": 0.0, "cpu": 0.0}
    for m, k, n in ((tokens, shape.d_model, shape.ffn_dim), (side, side, side)):
        a = torch.randn(m, k, device=device, dtype=dtype)
        b = torch.randn(k, n, device=device, dtype=dtype)
        for _ in range(10):
            synchronise(device)
            start, cpu = time.perf_counter(), time.process_time()
            a @ b
            synchronise(device)
            took = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
            best = {clock: max(best[clock], 2 * m * k * n / took[clock]) for clock in best}
    return best


def measured(cell: Cell) -> dict[str, float]:
    """What a process of its own found for a cell."""
    threads = {"OMP_NUM_THREADS": str(cell["threads"])}
    printed = fresh(sys.executable, __file__, "--worker", json.dumps(cell), **threads).printed
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


def window_flops(cell: Cell) -> float:
    """FLOPs of one window's training step, forward and backward."""
    from scaling.training.model import training_flops

    return training_flops(*shape_and_window(cell), CHANNELS)


def main(argv: list[str] | None = None) -> None:
    arguments = asked(argv)
    if cell := arguments.worker:
        print(json.dumps(matmul_peak(cell) if cell["who"] == "peak" else timed(cell)[0]))
        return

    from scaling.config import load_config
    from scaling.sizes import load_model_config

    window = load_config(SHIPPED).window
    names = ("budget", "device", "batch", "threads", "steps")
    shipped: Cell = {
        **{name: getattr(arguments, name) for name in names},
        "context": window.context_length,
        "patch": window.patch_length,
        "dropout": load_model_config(arguments.budget).dropout,
    }
    print(f"{machine('torch', 'transformers', device=arguments.device)}\n{shipped}\n")
    header(
        *("precision", "naive, windows/s", "ours", "naive / ours"),
        *("fp32 naive / ours, CPU", "of peak"),
    )
    # A busy machine takes the wall's seconds away, not the CPU's.
    clock = "cpu" if arguments.device == "cpu" else "wall"
    for precision in ("fp32", "bf16"):
        cell = {**shipped, "precision": precision}
        rounds = [
            {who: measured({**cell, "who": who}) for who in ("naive", "ours", "peak")}
            for _ in range(arguments.rounds)
        ]
        if precision == "fp32":
            naive_fp32 = median(r["naive"]["cpu"] for r in rounds)
        leaner = naive_fp32 / median(r["ours"]["cpu"] for r in rounds)
        faster = median(r["naive"]["wall"] / r["ours"]["wall"] for r in rounds)
        rates = [
            f"{cell['batch'] / median(r[who]['wall'] for r in rounds):.1f}"
            for who in ("naive", "ours")
        ]
        reached = cell["batch"] * window_flops(cell) / median(r["ours"][clock] for r in rounds)
        share = reached / max(r["peak"][clock] for r in rounds)
        row(precision, *rates, f"{faster:.2f}", f"{leaner:.2f}", f"{share:.0%}")


if __name__ == "__main__":
    main()
