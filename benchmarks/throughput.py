"""Training throughput: ours, the loop one would write with Hugging Face's model, and its peers.

Fresh processes, interleaved round by round, so that a busy machine slows all alike; every figure
is the median over rounds, every ratio the median of the rounds' own ratios (over naive fp32: of
the medians, for precisions are measured one after the other). `ours` is the trainer's own step.
HF Trainer, Lightning and accelerate run where they are installed, with their own defaults, the
same model, batches and clipping:

    python benchmarks/throughput.py --budget 2m --device cpu
    pip install --no-deps --target PEERS accelerate lightning pytorch-lightning \\
        lightning-utilities torchmetrics
    PYTHONPATH=PEERS python benchmarks/throughput.py --budget 2m --device cpu
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = "configs/daily/threshold_1pct.yaml"
CHANNELS = 20
# Until then a process still asks the kernel for its first pages: faults stop after 4 steps.
WARM_UP = 5
PEERS = {"trainer": "accelerate", "lightning": "lightning", "accelerate": "accelerate"}
SQUARE = 1536  # side of the product that stands for the machine's own peak

Cell = dict[str, Any]
Step = Callable[[], None]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--batch", type=int, default=32, help="windows per step (default 32)")
    parser.add_argument("--patch-length", type=int, help=f"days (default: that of {SHIPPED})")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument(
        "--rounds", type=int, default=3, help="fresh processes per cell (default 3)"
    )
    parser.add_argument("--steps", type=int, default=4, help="timed steps a process (default 4)")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--dropouts", nargs="+", type=float, help="default: 0 and the shipped one")
    parser.add_argument(
        "--peers", nargs="*", choices=list(PEERS), help="default: those that are installed"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def worker(cell: Cell) -> dict[str, float]:
    """One process, one cell: median seconds a step, of the wall's clock and of the CPU."""
    import dataclasses

    import torch

    from scaling.config import WindowConfig
    from scaling.sizes import load_model_config

    torch.manual_seed(0)
    torch.set_num_threads(cell["threads"])
    device = torch.device(cell["device"])
    shape = dataclasses.replace(load_model_config(cell["budget"]), dropout=cell["dropout"])
    window = WindowConfig(cell["context"], cell["patch"], cell["context"] - 1)
    if cell["who"] == "peak":
        return matmul_peak(device, cell, shape)
    marks: list[tuple[float, float]] = []

    def after_step() -> None:
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        marks.append((time.perf_counter(), time.process_time()))

    WHO[cell["who"]](cell, device, shape, window, after_step)
    pairs = list(zip(marks[WARM_UP - 1 :], marks[WARM_UP:], strict=False))
    return {
        name: median(after[clock] - before[clock] for before, after in pairs)
        for clock, name in enumerate(("wall", "cpu"))
    }


def ours(cell: Cell, device: Any, shape: Any, window: Any, after_step: Step) -> None:
    import numpy as np
    import torch

    from scaling.config import load_config
    from scaling.data.dataset import WindowDataset
    from scaling.machine.device import tune
    from scaling.training.capture import Captured
    from scaling.training.model import build_model
    from scaling.training.step import make_optimiser, optimiser_step, prepared

    tune(device)
    config = load_config(SHIPPED).optimiser
    samples = cell["batch"] * (cell["steps"] + WARM_UP)
    rows = samples + window.warmup + 1
    dataset = WindowDataset(
        torch.randn(rows, CHANNELS),
        np.exp(np.random.default_rng(0).normal(0, 0.01, rows)),
        context_length=window.context_length,
        warmup=window.warmup,
        threshold=0.01,
        horizon=1,
    ).to(device)
    model = build_model(shape, window, CHANNELS)
    order = torch.randperm(samples).add(window.warmup).to(device)
    stepped = prepared(model, dataset, order[: cell["batch"]], cell["precision"])
    if device.type == "cuda" and not isinstance(stepped, Captured):
        sys.exit("the training step was not captured as a CUDA graph")
    optimiser = make_optimiser(model, config)
    optimiser.param_groups[0]["lr"] = optimiser.param_groups[1]["lr"] = 1e-4
    for step, days in enumerate(order.split(cell["batch"])):
        optimiser_step(
            stepped,
            optimiser,
            dataset,
            days,
            micro_batch=cell["batch"],
            precision=cell["precision"],
            gradient_clip=config.gradient_clip,
            seed=0,
            step=step,
        )
        after_step()


def peer_parts(cell: Cell, shape: Any, window: Any) -> tuple[Any, Any]:
    """Hugging Face's own model, and windows with labels as a dataset."""
    import torch
    from torch.utils.data import TensorDataset
    from transformers import PatchTSTForClassification

    from scaling.training.families.patchtst import hf_config

    samples = cell["batch"] * (cell["steps"] + WARM_UP)
    windows = torch.randn(samples, window.context_length, CHANNELS)
    data = TensorDataset(windows, torch.rand(samples, 1).round())
    return PatchTSTForClassification(hf_config(shape, window, CHANNELS)), data


def naive(cell: Cell, device: Any, shape: Any, window: Any, after_step: Step) -> None:
    import torch
    from torch.utils.data import DataLoader

    from scaling.machine.device import autocast
    from scaling.training.model import loss

    model, data = peer_parts(cell, shape, window)
    model.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for x, y in DataLoader(data, batch_size=cell["batch"], shuffle=True):
        with autocast(device, cell["precision"]):
            logits = model(past_values=x.to(device)).prediction_logits
        loss(logits, y.to(device)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        after_step()


def accelerate(cell: Cell, device: Any, shape: Any, window: Any, after_step: Step) -> None:
    import torch
    from accelerate import Accelerator
    from torch.utils.data import DataLoader

    from scaling.training.model import loss

    mixed = "bf16" if cell["precision"] == "bf16" else "no"
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=mixed)
    model, data = peer_parts(cell, shape, window)
    model, optimiser, loader = accelerator.prepare(
        model,
        torch.optim.AdamW(model.parameters(), lr=1e-4),
        DataLoader(data, batch_size=cell["batch"], shuffle=True),
    )
    for x, y in loader:
        accelerator.backward(loss(model(past_values=x).prediction_logits, y))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        after_step()


def trainer(cell: Cell, device: Any, shape: Any, window: Any, after_step: Step) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from scaling.training.model import loss

    model, data = peer_parts(cell, shape, window)

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            after_step()

    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model,
            TrainingArguments(
                folder,
                per_device_train_batch_size=cell["batch"],
                num_train_epochs=1,
                learning_rate=1e-4,
                bf16=cell["precision"] == "bf16",
                use_cpu=device.type == "cpu",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                label_names=["labels"],
                dataloader_pin_memory=device.type == "cuda",
            ),
            train_dataset=[{"past_values": x, "labels": y} for x, y in data],
            compute_loss_func=lambda outputs, labels, **_: loss(outputs.prediction_logits, labels),
            callbacks=[Clock()],
        ).train()


def lightning(cell: Cell, device: Any, shape: Any, window: Any, after_step: Step) -> None:
    import lightning as L
    import torch
    from torch.utils.data import DataLoader

    from scaling.training.model import loss

    model, data = peer_parts(cell, shape, window)

    class Module(L.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, _: int) -> Any:
            return loss(self.model(past_values=batch[0]).prediction_logits, batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-4)

    class Clock(L.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            after_step()

    L.Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=1,
        precision="bf16-mixed" if cell["precision"] == "bf16" else "32-true",
        max_epochs=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    ).fit(Module(), DataLoader(data, batch_size=cell["batch"], shuffle=True))


WHO = {
    "naive": naive,
    "ours": ours,
    "trainer": trainer,
    "lightning": lightning,
    "accelerate": accelerate,
}


def matmul_peak(device: Any, cell: Cell, shape: Any) -> dict[str, float]:
    """FLOP/s by either clock: the better of the step's largest product and a square one."""
    import torch

    from scaling.machine.device import tune

    tune(device)
    dtype = torch.bfloat16 if cell["precision"] == "bf16" else torch.float32
    tokens = cell["batch"] * CHANNELS * cell["context"] // cell["patch"]
    best = {"wall": 0.0, "cpu": 0.0}
    for m, k, n in ((tokens, shape.d_model, shape.ffn_dim), (SQUARE, SQUARE, SQUARE)):
        a = torch.randn(m, k, device=device, dtype=dtype)
        b = torch.randn(k, n, device=device, dtype=dtype)
        for _ in range(10):
            start, cpu = time.perf_counter(), time.process_time()
            a @ b
            if device.type != "cpu":
                getattr(torch, device.type).synchronize()
            took = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}
            best = {clock: max(best[clock], 2 * m * k * n / took[clock]) for clock in best}
    return best


def measure(cell: Cell) -> dict[str, float]:
    """One cell in a process of its own."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(cell["threads"]),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    command = [sys.executable, __file__, "--worker", json.dumps(cell)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{cell}: ended with exit code {done.returncode}\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: list[str] | None = None) -> int | None:
    arguments = parse(argv)
    if arguments.worker:
        print(json.dumps(worker(json.loads(arguments.worker))))
        return 0

    import importlib.metadata
    import importlib.util

    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    import torch

    from scaling.config import WindowConfig, load_config
    from scaling.machine.device import device_name
    from scaling.sizes import load_model_config
    from scaling.training.model import training_flops

    context = load_config(SHIPPED).window.context_length
    patch = arguments.patch_length or load_config(SHIPPED).window.patch_length
    shape = load_model_config(arguments.budget)
    flops = training_flops(shape, WindowConfig(context, patch, context - 1), CHANNELS)
    installed = [peer for peer, module in PEERS.items() if importlib.util.find_spec(module)]
    peers = installed if arguments.peers is None else arguments.peers
    who = ["naive", "ours", *peers]
    packages = ["torch", "transformers", *sorted({PEERS[peer] for peer in peers})]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(
        f"{device_name(torch.device(arguments.device))}, {arguments.threads} of {os.cpu_count()} "
        f"cores, {versions}, python {platform.python_version()}, {date.today()}, load average "
        f"{os.getloadavg()[0]:.1f}\n{arguments.budget}, batch {arguments.batch}, {CHANNELS} "
        f"channels, context {context}, patch {patch}, LayerNorm, AdamW, {flops / 1e9:.2f} GFLOP a "
        f"window; median of {arguments.rounds} interleaved rounds\n"
    )
    if missing := [peer for peer in PEERS if peer not in peers]:
        print(f"not measured: {', '.join(missing)} (--help says how to install them)\n")
    print(
        "| precision | dropout | loop | windows/s | CPU s a step | naive / it | naive / it, CPU "
        "| naive fp32 / it, CPU | of peak |\n|---|---|---|---|---|---|---|---|---|"
    )
    # A busy machine takes the wall's seconds away, not the CPU's.
    clock = "cpu" if arguments.device == "cpu" else "wall"
    naive_fp32: dict[float, float] = {}
    for precision in arguments.precisions:
        for dropout in arguments.dropouts or [0.0, shape.dropout]:
            cell = {
                "budget": arguments.budget,
                "device": arguments.device,
                "batch": arguments.batch,
                "threads": arguments.threads,
                "steps": arguments.steps,
                "context": context,
                "patch": patch,
                "precision": precision,
                "dropout": dropout,
            }
            rounds = [
                {name: measure(cell | {"who": name}) for name in (*who, "peak")}
                for _ in range(arguments.rounds)
            ]
            peak = max(r["peak"][clock] for r in rounds)
            if precision == "fp32":
                naive_fp32[dropout] = median(r["naive"]["cpu"] for r in rounds)
            for name in who:
                wall, cpu = (median(r[name][kind] for r in rounds) for kind in ("wall", "cpu"))
                faster, leaner = (
                    median(r["naive"][kind] / r[name][kind] for r in rounds)
                    for kind in ("wall", "cpu")
                )
                over = f"{naive_fp32[dropout] / cpu:.2f}" if dropout in naive_fp32 else ""
                share = arguments.batch * flops / (cpu if clock == "cpu" else wall) / peak
                print(
                    f"| {precision} | {dropout:g} | {name} | {arguments.batch / wall:.1f} "
                    f"| {cpu:.3f} | {faster:.2f} | {leaner:.2f} | {over} | {share:.0%} |",
                    flush=True,
                )
            print(
                f"| {precision} | {dropout:g} | matmul peak: {peak / 1e9:.0f} GFLOP/s | | | | | | |"
            )
    print(
        f"\nload average at the end {os.getloadavg()[0]:.1f}; next: copy the table into "
        "benchmarks/README.md, with the line above it"
    )
    return None


if __name__ == "__main__":
    sys.exit(main())
