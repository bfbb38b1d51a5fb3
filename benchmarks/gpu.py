"""What is unknown of this repository on a GPU, measured by one command in 8 minutes.

    python benchmarks/gpu.py --output gpu.json

It needs torch, transformers, numpy, pandas, pyarrow and pydantic, and no data. The JSON holds

- agreement: logits and gradient on the device against those of the CPU in fp32, by size, as the
  norm of the difference over the norm;
- graph: the step that is recorded as a CUDA graph against the plain one, weights and speed;
- resume: whether a training that was killed and resumed ends with the weights of one that was not;
- throughput: windows and FLOPs a second by size and batch, of the naive loop of throughput.py, of
  our step plain and recorded, and of a matrix product (`peak`).

A part that fails, or for which no time is left, says so in its place, and the exit code is 1.
**It has not run on a GPU yet.** A test runs it on a CPU with tiny shapes.
"""

import argparse
import dataclasses
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common import machine, parser
from throughput import (
    CHANNELS,
    SHIPPED,
    Cell,
    matmul_peak,
    random_windows,
    shape_and_window,
    timed,
    window_flops,
)

SECONDS = 8 * 60
EPOCHS = 20  # of the training that is killed: so many that the kill comes long before the last
COMPARED = 8  # windows; the CPU needs a minute for those of 200M


def asked(argv: list[str] | None = None) -> argparse.Namespace:
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("--output", type=Path, default=Path("gpu.json"), help="default: %(default)s")
    add("--device", default="cuda", help="default: %(default)s")
    add("--budgets", nargs="+", default=["2m", "20m", "200m"])
    add("--batches", nargs="+", type=int, default=[32, 512], help="default: 32 512")
    add("--steps", type=int, default=20, help="timed steps (default %(default)s)")
    add("--train", type=Path, help=argparse.SUPPRESS)
    return arguments.parse_args(argv)


def distance(found: Any, expected: Any) -> float:
    """The norm of the difference over the norm of what was expected."""
    return float((found - expected).norm() / expected.norm())


def forward_and_gradient(cell: Cell, device: str, precision: str) -> tuple[Any, Any]:
    """Logits [batch, 1] and the gradient of all weights, both on the CPU, of one fixed network."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from scaling.machine.device import autocast
    from scaling.training.model import build_model

    torch.manual_seed(0)
    shape, window = shape_and_window(cell)
    model = build_model(shape, window, CHANNELS).to(device).train()
    windows = torch.randn(cell["batch"], window.context_length, CHANNELS).to(device)
    labels = torch.rand(cell["batch"], 1).round().to(device)
    with autocast(torch.device(device), precision):  # type: ignore[arg-type]
        logits = model(windows)
    binary_cross_entropy_with_logits(logits.float(), labels).backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logits.detach().float().cpu(), torch.cat(gradients).cpu()


def agreement(cell: Cell) -> dict[str, Any]:
    cell = {**cell, "batch": COMPARED, "dropout": 0.0}
    expected = forward_and_gradient(cell, "cpu", "fp32")
    found = {}
    for precision in ("fp32", "bf16"):
        logits, gradient = forward_and_gradient(cell, cell["device"], precision)
        found[precision] = {
            "logits": distance(logits, expected[0]),
            "gradient": distance(gradient, expected[1]),
        }
    return found


def graph(cell: Cell) -> dict[str, Any]:
    """Both steps from the same weights, with the same days and no dropout."""
    plain, expected = timed({**cell, "who": "plain", "dropout": 0.0})
    recorded, found = timed({**cell, "who": "ours", "dropout": 0.0})
    gaps = [
        float((a - b).detach().abs().max())
        for a, b in zip(found.parameters(), expected.parameters(), strict=True)
    ]
    return {
        "recorded": cell["device"] == "cuda",
        "largest_weight_difference": max(gaps),
        "plain_windows_per_second": cell["batch"] / plain["wall"],
        "recorded_windows_per_second": cell["batch"] / recorded["wall"],
    }


def training(cell: Cell, folder: Path) -> dict[str, Any]:
    """The last weights of a training whose resume states lie in `folder`, resumed if it has any."""
    import numpy as np
    import torch

    from scaling.config import load_config
    from scaling.machine.device import tune
    from scaling.training.checkpoint import ResumeStore
    from scaling.training.model import build_model
    from scaling.training.trainer import Hardware, Recipe, train

    torch.manual_seed(0)
    device = torch.device(cell["device"])
    tune(device)
    shape, window = shape_and_window(cell)
    dataset = random_windows(128, window)
    days, batch = dataset.items.numpy(), 32
    samples = {"train": days[:64], "validation": days[64:]}
    study = SimpleNamespace(  # as much of a `Study` as a training reads
        dataset=dataset,
        dates=np.datetime64("2000-01-01") + np.arange(len(dataset.features)),
        samples=samples,
        labels=lambda block: dataset.labels.numpy()[samples[block]],
        train_base_rate=0.5,
    )
    optimiser = dataclasses.replace(
        load_config(SHIPPED).optimiser,
        batch_size=batch,
        epochs=EPOCHS,
    )
    store = ResumeStore(folder)
    done = train(
        build_model(shape, window, CHANNELS),
        study,
        Recipe(optimiser, 42, shape),
        Hardware(device, cell["precision"], batch),
        guard=SimpleNamespace(stop_reason=None, latest=None, wait_if_hot=lambda _: 0.0),
        tracker=SimpleNamespace(ids={}, log=lambda *_, **__: None),
        store=store,
        state=store.load()[0],
    )
    return done.last_weights


def resume(cell: Cell) -> dict[str, Any]:
    """Kill a training in a process of its own, go on with its states here, and compare."""
    import torch

    with tempfile.TemporaryDirectory() as name:
        killed, whole = Path(name, "killed"), Path(name, "whole")
        command = [sys.executable, __file__, "--train", str(killed), "--device", cell["device"]]
        with subprocess.Popen([*command, "--budgets", cell["budget"]]) as process:
            while process.poll() is None and not list(killed.glob("*.state")):
                time.sleep(0.002)
            process.kill()
        if not (states := sorted(path.name for path in killed.glob("*.state"))):
            raise RuntimeError(f"the training ended with {process.returncode} and saved no state")
        found, expected = training(cell, killed), training(cell, whole)
    gaps = [float((found[key] - expected[key]).abs().max()) for key in expected]
    return {
        "exit_code": process.returncode,
        "resumed_from": states,
        "same_bits": all(torch.equal(found[key], expected[key]) for key in expected),
        "largest_weight_difference": max(gaps),
    }


def throughput(cell: Cell) -> dict[str, Any]:
    if cell["who"] == "peak":
        return {"flops_per_second": matmul_peak(cell)["wall"]}
    speed = cell["batch"] / timed(cell)[0]["wall"]
    return {"windows_per_second": speed, "flops_per_second": speed * window_flops(cell)}


def attempt(part: Callable[[Cell], dict[str, Any]], cell: Cell, deadline: float) -> dict[str, Any]:
    """What a part found, or why it found nothing."""
    which = {"part": part.__name__, **{key: cell[key] for key in ("budget", "batch", "who")}}
    if time.monotonic() > deadline:
        return {**which, "failed": f"not begun: {SECONDS} seconds were over"}
    began = time.monotonic()
    try:
        found = part(cell)
    except Exception as error:  # whatever it is, the other parts are worth their minutes
        found = {"failed": f"{type(error).__name__}: {error}"}
    gc.collect()  # a recorded step holds its memory in a circle
    if cell["device"] == "cuda":
        import torch

        torch.cuda.empty_cache()
    return {**which, **found, "seconds": time.monotonic() - began}


def main(argv: list[str] | None = None) -> int:
    arguments = asked(argv)
    from scaling.config import load_config
    from scaling.machine.device import choose_device

    choose_device(arguments.device)  # or one line that says which devices there are
    window = load_config(SHIPPED).window
    smallest: Cell = {
        "budget": arguments.budgets[0],
        "device": arguments.device,
        "batch": arguments.batches[0],
        "steps": arguments.steps,
        "context": window.context_length,
        "patch": window.patch_length,
        "precision": "bf16",
        "dropout": 0.1,
        "who": None,
    }
    if arguments.train:
        training(smallest, arguments.train)
        return 0
    sizes = [{**smallest, "budget": budget} for budget in arguments.budgets]
    cells = [
        {**size, "batch": batch, "who": who}
        for size in sizes
        for batch in arguments.batches
        for who in ("peak", "naive", "plain", "ours")
    ]
    planned = [(graph, smallest), (resume, smallest)]
    planned += [(agreement, size) for size in sizes] + [(throughput, cell) for cell in cells]
    deadline = time.monotonic() + SECONDS
    where = machine("torch", "transformers", device=arguments.device)
    results: dict[str, Any] = {"machine": where, "settings": smallest, "parts": []}
    for part, cell in planned:
        results["parts"].append(attempt(part, cell, deadline))
        arguments.output.write_text(json.dumps(results, indent=1))
        print(json.dumps(results["parts"][-1]), flush=True)
    failed = sum("failed" in part for part in results["parts"])
    print(f"wrote {arguments.output}: {len(planned)} parts, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    from scaling.errors import run_command

    run_command(main)
