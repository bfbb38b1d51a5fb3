"""Does a micro-batch fit? Real training steps in processes of their own, under a memory ceiling."""

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
from scaling.sizes import ModelConfig, OptimiserConfig

if TYPE_CHECKING:
    import torch

    from scaling.machine.processes import Group

STEPS = 3  # the first warms up, the faster of the others is timed
TIMEOUT = 300.0  # seconds for one size
# When one process of a probe fails, the others soon fail too. For this long, in seconds, their
# own messages are awaited, because theirs may say that memory ran out.
GRACE = 5.0
# When the processes of a probe tell different things, the first of these counts.
PRECEDENCE = ("out of memory", "error", "timeout", "ok")
MEMORY_ERRORS = (
    "CUDA out of memory",
    "MPS backend out of memory",
    "Invalid buffer size",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
# Importing torch takes seconds. A server does it once, and each probe is forked from it.
PRELOAD = ["scaling.training.step", "scaling.training.model", "torch._dynamo"]

Result = dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """What a probing process needs to know; `ceiling` in bytes."""

    model: ModelConfig
    window: configs.WindowConfig
    optimiser: OptimiserConfig
    n_channels: int
    device: str
    precision: Literal["fp32", "bf16"]
    seed: int
    ceiling: int
    processes: int = 1
    sharded: bool = False
    rank: int = 0
    port: int = 0  # where the processes of one probe meet


def run_probe(
    probe: Probe,
    micro_batch: int,
    timeout: float = TIMEOUT,
    work: Callable[[Probe, int, Connection], None] | None = None,
) -> Result:
    """Try one size. An error that is not about memory is raised as `RuntimeError`.

    With several processes the slowest and the largest of them count, and the size fits only if it
    fits in all of them.
    """
    from torch.distributed.elastic.utils.distributed import get_free_port

    context = start_method(probe.model.family)
    port = get_free_port() if probe.processes > 1 else 0  # type: ignore[no-untyped-call]
    running: dict[Connection, Any] = {}
    try:
        for rank in range(probe.processes):
            ours, theirs = context.Pipe()
            member = replace(probe, rank=rank, port=port)
            process = context.Process(
                target=work or in_child, args=(member, micro_batch, theirs), daemon=True
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
    return {"micro_batch": micro_batch, **_joined(results, micro_batch)}


def _joined(results: list[Result], micro_batch: int) -> Result:
    """What the processes of one probe say together."""
    result = next(r for status in PRECEDENCE for r in results if r["status"] == status)
    if result["status"] == "error":
        raise RuntimeError(f"the probe of micro-batch {micro_batch} failed: {result['detail']}")
    worst = {"peak_bytes": max, "seconds_per_step": max, "samples_per_second": min}
    if result["status"] != "ok":
        return dict.fromkeys(worst) | result
    return result | {key: pick(r[key] for r in results) for key, pick in worst.items()}


def _results(running: dict[Connection, Any], deadline: float) -> list[Result]:
    """What the processes tell until `deadline`; once one has failed, only `GRACE` is left."""
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


@functools.cache
def start_method(family: str) -> Any:
    """How probes start: forked from a server on Linux; macOS cannot fork a process with Metal."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, f"scaling.training.families.{family}"])
    return context


def start_server(family: str) -> None:
    """Start the server that probes are forked from, so that it imports torch in the meantime."""
    if sys.platform == "linux":
        start_method(family)
        from multiprocessing import forkserver

        forkserver.ensure_running()


# --- in the probing process ------------------------------------------------------------------


def in_child(probe: Probe, micro_batch: int, connection: Connection) -> None:
    """Take the steps and send the result; ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this
    threading.Thread(target=leave_with_parent, args=(connection,), daemon=True).start()
    if probe.processes > 1:  # the variables that torchrun would set
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.port)}
        os.environ |= meeting | {"RANK": str(probe.rank), "WORLD_SIZE": str(probe.processes)}
    try:
        from scaling.machine.processes import joined

        with joined(device_of(probe), probe.sharded) as group:
            try:
                connection.send(real_steps(probe, micro_batch, group))
            except BaseException as error:
                # Sent before this process leaves the group, because the others then fail as well.
                connection.send(_failure(error))
                os._exit(1)
    except BaseException as error:
        connection.send(_failure(error))


def real_steps(probe: Probe, micro_batch: int, group: "Group") -> Result:
    """Three training steps as the trainer does them, on random windows of the right shape."""
    import torch

    from scaling.data.dataset import WindowDataset
    from scaling.machine.device import tune
    from scaling.training import step
    from scaling.training.model import build_model
    from scaling.training.transfer import make_optimiser

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
    stepped = step.prepared(model, dataset, days[:micro_batch], probe.precision, group=group)
    optimiser = make_optimiser(model, probe.model, probe.optimiser)
    seconds = []
    for taken in range(STEPS):
        start = time.perf_counter()
        loss, _ = step.optimiser_step(
            stepped,
            optimiser,
            dataset,
            days,
            micro_batch=micro_batch,
            precision=probe.precision,
            gradient_clip=probe.optimiser.gradient_clip,
            seed=probe.seed,
            step=taken,
            group=group,
        )
        loss.item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    peak = peak_memory(probe.device)
    if peak > probe.ceiling:  # where nothing enforces the ceiling: the CPU of a Mac
        return {"status": "out of memory", "peak_bytes": peak, "detail": "peak above the ceiling"}
    fastest = min(seconds[1:])
    return {
        "status": "ok",
        "peak_bytes": peak,
        "seconds_per_step": fastest,
        "samples_per_second": samples / fastest,
    }


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

        # OpenMP starts its threads here, before the limit. Where it cannot start one for want of
        # memory, it ends the process without a message.
        torch.ones(2**20).exp_()
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = ceiling if hard == resource.RLIM_INFINITY else min(ceiling, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
        # If the machine runs out of memory all the same, the kernel ends this process first.
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


def device_of(probe: Probe) -> "torch.device":
    """Each process of a probe has a GPU of its own."""
    import torch

    together = probe.device == "cuda" and probe.processes > 1
    return torch.device("cuda", probe.rank) if together else torch.device(probe.device)


def leave_with_parent(connection: Connection) -> None:
    """End this process when the other end of the pipe closes, so that it does not outlive it."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def is_memory_error(error: BaseException) -> bool:
    """Only what an allocator says about memory; any other error is a defect to be shown."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in MEMORY_ERRORS)


def _failure(error: BaseException) -> Result:
    if is_memory_error(error):
        return {"status": "out of memory", "detail": str(error).strip().splitlines()[0]}
    return {"status": "error", "detail": "".join(traceback.format_exception(error))}
