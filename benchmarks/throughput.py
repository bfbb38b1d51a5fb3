"""Training throughput of ours against the loop one would write with HF and a DataLoader.

Fresh processes, interleaved round by round, so that a busy machine slows both alike; every
figure is the median over rounds, every ratio the median of the rounds' own ratios.

    python benchmarks/throughput.py --budget 2m --device cpu
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHANNELS, CONTEXT, PATCH = 20, 64, 8


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--batch", type=int, default=32, help="windows per step (default 32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument(
        "--rounds", type=int, default=3, help="fresh processes per cell (default 3)"
    )
    parser.add_argument("--steps", type=int, default=4, help="timed steps a process (default 4)")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--dropouts", nargs="+", type=float, help="default: 0 and the shipped one")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def worker(cell: dict[str, Any]) -> dict[str, Any]:
    """One process, one cell: median seconds a step (wall, and CPU), and the matmul peak."""
    import dataclasses

    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from transformers import PatchTSTForClassification

    from scaling.config import WindowConfig, load_model_config
    from scaling.device import autocast, tune
    from scaling.model import build_model, hf_config, loss

    torch.manual_seed(0)
    torch.set_num_threads(cell["threads"])
    device = torch.device(cell["device"])
    shape = dataclasses.replace(load_model_config(cell["budget"]), dropout=cell["dropout"])
    window = WindowConfig(CONTEXT, PATCH, CONTEXT - 1)
    batch, steps = cell["batch"], cell["steps"]
    if cell["who"] == "peak":
        return {"peak": matmul_peak(device, cell["precision"], batch, shape, tune)}

    samples = batch * (steps + 2)
    windows, labels = torch.randn(samples, CONTEXT, CHANNELS), torch.rand(samples, 1).round()
    if cell["who"] == "ours":
        tune(device)
        model = build_model(shape, window, CHANNELS).to(device)
        windows, labels = windows.to(device), labels.to(device)
        order = torch.randperm(samples).to(device).split(batch)
        batches = ((windows[rows], labels[rows]) for rows in order)
        forward = model
    else:
        model = PatchTSTForClassification(hf_config(shape, window, CHANNELS)).to(device)
        loader = DataLoader(TensorDataset(windows, labels), batch_size=batch, shuffle=True)
        batches = ((x.to(device), y.to(device)) for x, y in loader)

        def forward(x: torch.Tensor) -> torch.Tensor:
            return model(past_values=x).prediction_logits

    fused = {"fused": True} if cell["who"] == "ours" else {}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, **fused)
    walls, cpus = [], []
    for index in range(steps + 2):
        start, cpu = time.perf_counter(), time.process_time()
        x, y = next(batches)
        with autocast(device, cell["precision"]):
            logits = forward(x)
        loss(logits, y).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()
        if index >= 2:
            walls.append(time.perf_counter() - start)
            cpus.append(time.process_time() - cpu)
    return {"wall": median(walls), "cpu": median(cpus)}


def matmul_peak(device: Any, precision: str, batch: int, shape: Any, tune: Any) -> float:
    """FLOP/s of the step's own largest product: tokens x d_model x ffn_dim, best of ten."""
    import torch

    tune(device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    tokens = batch * CHANNELS * CONTEXT // PATCH
    a = torch.randn(tokens, shape.d_model, device=device, dtype=dtype)
    b = torch.randn(shape.d_model, shape.ffn_dim, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        (a @ b).sum().item() if device.type != "cpu" else a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * tokens * shape.d_model * shape.ffn_dim / best


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    environment = os.environ | {
        "OMP_NUM_THREADS": str(cell["threads"]),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, __file__, "--worker", json.dumps(cell)]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: list[str] | None = None) -> int | None:
    arguments = parse(argv)
    if arguments.worker:
        print(json.dumps(worker(json.loads(arguments.worker))))
        return 0

    import importlib.metadata

    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    from scaling.config import WindowConfig, load_model_config
    from scaling.device import device_name
    from scaling.model import training_flops

    shape = load_model_config(arguments.budget)
    flops = training_flops(shape, WindowConfig(CONTEXT, PATCH, CONTEXT - 1), CHANNELS)
    dropouts = arguments.dropouts or [0.0, shape.dropout]
    import torch

    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "transformers"))
    print(
        f"{device_name(torch.device(arguments.device))}, {arguments.threads} of {os.cpu_count()} "
        f"cores, {versions}, python {platform.python_version()}, {date.today()}, load average "
        f"{os.getloadavg()[0]:.1f}\n{arguments.budget}, batch {arguments.batch}, {CHANNELS} "
        f"channels, context {CONTEXT}, patch {PATCH}, LayerNorm, AdamW, "
        f"{flops / 1e9:.2f} GFLOP a window; median of {arguments.rounds} interleaved rounds\n"
    )
    print(
        "| precision | dropout | naive w/s | ours w/s | ratio | ratio of CPU time "
        "| CPU time, over naive fp32 | of peak |\n|---|---|---|---|---|---|---|---|"
    )
    naive_fp32: dict[float, float] = {}
    common = {k: getattr(arguments, k) for k in ("budget", "device", "batch", "threads", "steps")}
    for precision in arguments.precisions:
        for dropout in dropouts:
            cell = common | {"precision": precision, "dropout": dropout}
            rounds = [
                {who: measure(cell | {"who": who}) for who in ("naive", "ours", "peak")}
                for _ in range(arguments.rounds)
            ]
            naive, ours = (
                median(arguments.batch / r[who]["wall"] for r in rounds)
                for who in ("naive", "ours")
            )
            wall, cpu = (
                median(r["naive"][clock] / r["ours"][clock] for r in rounds)
                for clock in ("wall", "cpu")
            )
            if precision == "fp32":
                naive_fp32[dropout] = median(r["naive"]["cpu"] for r in rounds)
            ours_cpu = median(r["ours"]["cpu"] for r in rounds)
            over = f"{naive_fp32[dropout] / ours_cpu:.2f}" if dropout in naive_fp32 else ""
            share = ours * flops / max(r["peak"]["peak"] for r in rounds)
            print(
                f"| {precision} | {dropout:g} | {naive:.1f} | {ours:.1f} | {wall:.2f} | {cpu:.2f} "
                f"| {over} | {share:.0%} |",
                flush=True,
            )
    print(
        f"\nload average at the end {os.getloadavg()[0]:.1f}; next: copy the table into "
        "benchmarks/README.md, with the line above it"
    )
    return None


if __name__ == "__main__":
    sys.exit(main())
