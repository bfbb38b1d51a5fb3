"""One training on several processes: `torchrun --nproc-per-node 2 -m scaling.train …`.

Each process computes a share of every optimiser batch; the gradients are averaged, so the batch,
and with it the losses, stay those of one process. Only process 0 writes, logs and tracks.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch.nn.parallel import DistributedDataParallel

TIMEOUT = timedelta(minutes=30)  # of a collective; the first waits for every process's imports


@dataclass(frozen=True)
class Group:
    """The processes of one training. A group of one does nothing at all.

    `control` is a gloo group that carries flags beside NCCL's gradients: a flag on the GPU would
    have to wait for it at each step.
    """

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """True in the one process that writes."""
        return self.rank == 0

    def share(self, days: torch.Tensor) -> tuple[torch.Tensor, int]:
        """This process's part of an optimiser batch, and what to multiply its loss with.

        The parts are disjoint and complete; the weight undoes the averaging of gradients. With
        fewer days than processes the last ones compute a day that counts for nothing.
        """
        if self.rank < len(days):
            return days[self.rank :: self.size], self.size
        return days[:1], 0

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """A callable that averages the gradients over the group; its weights are `model`'s own."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def accumulating(self, wrapped: torch.nn.Module, last: bool) -> AbstractContextManager[object]:
        """Around each micro-batch: only the `last` of a step exchanges gradients."""
        if isinstance(wrapped, DistributedDataParallel) and not last:
            no_sync: AbstractContextManager[object] = wrapped.no_sync()
            return no_sync
        return nullcontext()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes, in each of them."""
        if self.size > 1:
            dist.all_reduce(value)
            value = value / self.size
        return value

    def agreed(self, reason: str | None) -> str | None:
        """Any process's reason to stop, in all of them at the same step: else they would hang."""
        if self.size == 1:
            return reason
        flag = torch.tensor(int(reason is not None))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.control)
        if not flag.item():
            return None
        return reason or "another process of this training was stopped"

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier(group=self.control)


ALONE = Group()


class NoTracker:
    """What processes other than the first track: nothing."""

    ids: dict[str, Any] = {}

    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def artifact(self, path: str | Path) -> None: ...

    def finish(self, status: str, reason: str, summary: dict[str, Any]) -> None: ...


def launched() -> bool:
    """True under torchrun with more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that torchrun describes in the environment; alone without it."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not launched():
        yield ALONE
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        control = dist.new_group(backend="gloo") if device.type == "cuda" else dist.group.WORLD
        yield Group(dist.get_rank(), dist.get_world_size(), control)
    finally:
        dist.destroy_process_group()


@contextmanager
def claimed_device(
    device: torch.device,
    count: int,
    say: Callable[[str], None],
    directory: Path | None = None,
) -> Iterator[torch.device]:
    """A CUDA device that no other training on this machine has; under torchrun the local rank's.

    Snakemake counts GPUs and assigns none. `count` devices are visible; when all are taken this
    waits for the first to be free. A lock dies with its process. On a CPU nothing is claimed.
    """
    if device.type != "cuda":
        yield device
        return
    if launched():
        yield torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return
    if count == 1:  # as a scheduler hands it out
        yield torch.device("cuda", 0)
        return
    folder = directory or Path(tempfile.gettempdir()) / "scaling-devices"
    folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
    said = False
    while True:
        for index in range(count):
            lock = FileLock(folder / f"cuda-{index}.lock", mode=0o666)
            try:
                lock.acquire(timeout=0 if not said else 1)
            except Timeout:
                continue
            try:
                yield torch.device("cuda", index)
            finally:
                lock.release()
            return
        if not said:
            say(f"all {count} GPUs are taken by other trainings: waiting for one ({folder})")
            said = True
