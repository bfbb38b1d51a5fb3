"""The batch-size search: real steps of growing micro-batches, each in processes of its own."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scaling import config as configs
from scaling.errors import UserError

if TYPE_CHECKING:
    import torch

    from scaling.machine.processes import Group

FIRST_SIZE = 8
STEPS = 3  # the first warms up, the faster of the others is timed
HEADROOM = 0.125  # of the free memory, left to the rest of the machine
AS_FAST = 0.95  # a size this close to the fastest is as fast, and the smaller one needs less memory
TIMEOUT = 300.0
GRACE = 5.0  # seconds; a process that ran out of memory takes the others along, and is to be heard
SAID_FIRST = ("out of memory", "error", "timeout", "ok")  # the first of these that a process tells
MEMORY_ERRORS = (
    "CUDA out of memory",
    "MPS backend out of memory",
    "Invalid buffer size",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
GIB = 2**30
# Importing torch takes seconds: done once, in a server from which each probe is forked.
PRELOAD = ["scaling.training.trainer", "scaling.training.model", "torch._dynamo"]

Result = dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """What a probing process needs to know; `ceiling` in bytes."""

    model: configs.ModelConfig
    window: configs.WindowConfig
    optimiser: configs.OptimiserConfig
    n_channels: int
    device: str
    precision: Literal["fp32", "bf16"]
    seed: int
    ceiling: int
    processes: int = 1
    sharded: bool = False
    rank: int = 0
    port: int = 0  # where the processes of one probe meet


def limit_memory(device: str, ceiling: int) -> None:
    """Hold this process to `ceiling` bytes, so that a size too big fails here and nowhere else."""
    import torch

    if device == "cuda":
        total = torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, ceiling / total))
    elif device == "mps":
        recommended = torch.mps.recommended_max_memory()
        torch.mps.set_per_process_memory_fraction(min(1.0, ceiling / recommended))
    elif sys.platform == "linux":
        import resource

        # OpenMP's threads start here: for want of memory it would end the process, with no word.
        torch.ones(2**20).exp_()
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
        # Should memory run out all the same, the kernel takes this process, not another.
        Path("/proc/self/oom_score_adj").write_text("1000")


def peak_memory(device: str) -> int:
    """Bytes at the peak of this process; MPS tells only what is held now."""
    import torch

    if device == "cuda":
        return int(torch.cuda.max_memory_reserved())
    if device == "mps":
        return int(torch.mps.driver_allocated_memory())
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def real_steps(probe: Probe, micro_batch: int, group: "Group") -> Result:
    """Three training steps as the trainer does them, on random windows of the right shape."""
    import torch

    from scaling.data.dataset import WindowDataset
    from scaling.machine.device import tune
    from scaling.training import trainer
    from scaling.training.model import build_model

    limit_memory(probe.device, probe.ceiling)
    device = device_of(probe)
    tune(device)
    torch.manual_seed(probe.seed)
    warmup = probe.window.warmup
    samples = group.size * micro_batch
    rows = warmup + samples + 1
    dataset = WindowDataset(
        torch.randn(rows, probe.n_channels),
        torch.rand(rows).numpy() + 1.0,
        context_length=probe.window.context_length,
        warmup=warmup,
        threshold=0.01,
        horizon=1,
    ).to(device)
    days = torch.arange(warmup, warmup + samples, device=device)
    model = build_model(probe.model, probe.window, probe.n_channels)
    stepped = trainer.prepared(model, dataset, days[:micro_batch], probe.precision, group=group)
    optimiser = trainer.make_optimiser(model, probe.optimiser)
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        loss = trainer.optimiser_step(
            stepped,
            optimiser,
            dataset,
            days,
            micro_batch=micro_batch,
            precision=probe.precision,
            gradient_clip=probe.optimiser.gradient_clip,
            group=group,
        )
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    fastest = min(seconds[1:])
    peak = peak_memory(probe.device)
    if peak > probe.ceiling:  # where nothing enforces the ceiling: the CPU of a Mac
        return {"status": "out of memory", "peak_bytes": peak, "detail": "peak above the ceiling"}
    return {
        "status": "ok",
        "peak_bytes": peak,
        "seconds_per_step": fastest,
        "samples_per_second": samples / fastest,
    }


def is_memory_error(error: BaseException) -> bool:
    """Only what an allocator says about memory; any other error is a defect to be shown."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in MEMORY_ERRORS)


def leave_with_parent(connection: Connection) -> None:
    """Wait for the other end of the pipe to close, then end this process: no orphan computes on."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def device_of(probe: Probe) -> "torch.device":
    """Each process of a probe has a GPU of its own."""
    import torch

    together = probe.device == "cuda" and probe.processes > 1
    return torch.device("cuda", probe.rank) if together else torch.device(probe.device)


def _in_child(probe: Probe, micro_batch: int, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this

    threading.Thread(target=leave_with_parent, args=(connection,), daemon=True).start()
    if probe.processes > 1:  # as torchrun says it
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.port)}
        os.environ |= meeting | {"RANK": str(probe.rank), "WORLD_SIZE": str(probe.processes)}
    try:
        from scaling.machine.processes import joined

        with joined(device_of(probe), probe.sharded) as group:
            try:
                connection.send(real_steps(probe, micro_batch, group))
            except BaseException as error:
                # Said before the group is left: the others would fail for want of this one.
                connection.send(_failure(error))
                os._exit(1)
    except BaseException as error:
        connection.send(_failure(error))


def _failure(error: BaseException) -> Result:
    if is_memory_error(error):
        return {"status": "out of memory", "detail": str(error).strip().splitlines()[0]}
    return {"status": "error", "detail": "".join(traceback.format_exception(error))}


@functools.cache
def _context() -> Any:
    """How probes start: forked from a server on Linux; macOS cannot fork a process with Metal."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def run_probe(
    probe: Probe,
    micro_batch: int,
    timeout: float = TIMEOUT,
    work: Callable[[Probe, int, Connection], None] = _in_child,
) -> Result:
    """One size in processes of its own; an error that is not about memory is raised as itself.

    Of several the slowest and largest counts, and one that does not fit speaks for all.
    """
    from scaling.machine.processes import free_port

    port = free_port() if probe.processes > 1 else 0
    running: dict[Connection, Any] = {}
    try:
        for rank in range(probe.processes):
            ours, theirs = _context().Pipe()
            member = replace(probe, rank=rank, port=port)
            process = _context().Process(
                target=work, args=(member, micro_batch, theirs), daemon=True
            )
            process.start()
            theirs.close()
            running[ours] = process
        results = _results(running, time.monotonic() + timeout)
    finally:
        for connection, process in running.items():
            process.kill()
            process.join()
            process.close()
            connection.close()
    if len(results) < probe.processes and all(r["status"] == "ok" for r in results):
        results.append({"status": "timeout", "detail": f"no result after {timeout:g} s"})
    result = next(r for status in SAID_FIRST for r in results if r["status"] == status)
    if result["status"] == "error":
        raise RuntimeError(f"the probe of micro-batch {micro_batch} failed: {result['detail']}")
    empty = {"peak_bytes": None, "seconds_per_step": None, "samples_per_second": None}
    worst = {}
    if result["status"] == "ok":
        worst = {
            "peak_bytes": max(r["peak_bytes"] for r in results),
            "seconds_per_step": max(r["seconds_per_step"] for r in results),
            "samples_per_second": min(r["samples_per_second"] for r in results),
        }
    return {"micro_batch": micro_batch, **empty, **result, **worst}


def _results(running: dict[Connection, Any], deadline: float) -> list[Result]:
    """What the processes tell until `deadline`; after one's failure the others have little time."""
    results: list[Result] = []
    silent = dict(running)
    while silent and (ready := wait(list(silent), max(0.0, deadline - time.monotonic()))):
        for connection in ready:
            assert isinstance(connection, Connection)
            process = silent.pop(connection)
            try:
                results.append(connection.recv())
            except (EOFError, ConnectionResetError):
                process.join()
                result = {"status": "error", "detail": f"ended with exit code {process.exitcode}"}
                if process.exitcode == -signal.SIGKILL:
                    detail = "killed by the kernel (exit code -9)"
                    result = {"status": "out of memory", "detail": detail}
                results.append(result)
        if any(result["status"] != "ok" for result in results):
            deadline = min(deadline, time.monotonic() + GRACE)
    return results


def search(try_size: Callable[[int], Result], batch_size: int, limit: int) -> list[Result]:
    """Double from 8 (or the largest power of two that divides `batch_size`) to `limit`.

    Ends at the first size that does not fit; where not even the first does, halves down to 1.
    """
    first = next(s for s in (FIRST_SIZE, 4, 2, 1) if batch_size % s == 0 and s <= limit)
    tried = []
    size = first
    while size <= limit:
        tried.append(try_size(size))
        if tried[-1]["status"] != "ok":
            break
        size *= 2
    size = first
    while not _fits(tried) and size > 1:
        size //= 2
        tried.append(try_size(size))
    return tried


def _fits(tried: list[Result]) -> list[Result]:
    return [result for result in tried if result["status"] == "ok"]


def choose(tried: list[Result], batch_size: int) -> int:
    """The fastest size that fits and divides the optimiser's batch; of equals the smallest."""
    usable = [r for r in _fits(tried) if batch_size % r["micro_batch"] == 0]
    best = max(r["samples_per_second"] for r in usable)
    return int(min(r["micro_batch"] for r in usable if r["samples_per_second"] >= AS_FAST * best))


def parameters_of(model: configs.ModelConfig, window: configs.WindowConfig, n_channels: int) -> int:
    """Counted without taking memory for them."""
    import torch

    from scaling.training.model import build_model, count_parameters

    with torch.device("meta"):
        return count_parameters(build_model(model, window, n_channels))


def refuse_nothing_fits(budget: str, probe: Probe, tried: list[Result]) -> None:
    """A `UserError` with the memory needed at least and the memory there is, if no size fits."""
    if _fits(tried):
        return
    from scaling.machine.processes import STATE_BYTES

    parameters = parameters_of(probe.model, probe.window, probe.n_channels)
    needed = STATE_BYTES * parameters / (probe.processes if probe.sharded else 1)
    told = "; ".join(f"{r['micro_batch']}: {r['status']}, {r['detail']}" for r in tried)
    raise UserError(
        f"{budget}: no micro-batch fits, not even {tried[-1]['micro_batch']} ({told}); "
        f"weights, gradients and Adam alone need {needed / GIB:.2f} GiB, activations come on top; "
        f"allowed here: {probe.ceiling / GIB:.2f} GiB on {probe.device}; free memory, type a "
        f"smaller --param-budget, or share it: --processes {2 * probe.processes}"
    )
