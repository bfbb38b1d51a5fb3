"""One training on several processes: `torchrun --nproc-per-node 2 -m -- scaling.train …`.

Each process computes a share of every optimiser batch, and the gradients are averaged. So the
batch and the losses are those of a training on one process. Only the first process writes, logs
and tracks.

If weights, gradients and optimiser state would fill half of a device, or with `--shard`, each
process keeps only a share of them (FSDP2). They are gathered before they are saved, so the files do
not depend on the number of processes.

Trainings that have nothing to do with each other each claim a GPU of their own (`claimed_device`).
"""

import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from scaling.errors import UserError
from scaling.machine.device import free_memory

T = TypeVar("T")
LOG = logging.getLogger(__name__)
# How long one exchange may take. The first one waits until every process has imported everything.
TIMEOUT = timedelta(minutes=30)
# For each parameter in fp32: weight, gradient and AdamW's two moments (Rajbhandari et al. 2020,
# ZeRO, section 3.1).
STATE_BYTES = 16
GIB = 2**30


class Piece(NamedTuple):
    """A micro-batch: its days, the weight of its loss, and its first day's place in the batch."""

    days: torch.Tensor
    weight: int
    first: int


@dataclass(frozen=True)
class Group:
    """The processes of one training, as seen from the one with number `rank`.

    A group of one process exchanges nothing. `control` is a gloo group for flags and small values:
    sent through NCCL, they would have to wait for the GPU at each step.
    """

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None
    sharded: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the first process, the only one that writes."""
        return self.rank == 0

    def pieces(self, days: torch.Tensor, micro_batch: int) -> list[Piece]:
        """This process's share of an optimiser batch, cut into micro-batches.

        The shares are disjoint and complete, and a piece's weight undoes the averaging of gradients
        over the processes. All processes get the same number of pieces, because FSDP exchanges
        weights in each one. A process that has too few days computes the batch's first day again,
        with weight 0.
        """
        places = torch.arange(len(days)).tensor_split(self.size)[self.rank].tolist()
        starts = places[::micro_batch]
        ends = [*starts[1:], places[-1] + 1] if places else []
        pieces = [Piece(days[i:j], self.size, i) for i, j in zip(starts, ends, strict=True)]
        rounds = math.ceil(math.ceil(len(days) / self.size) / micro_batch)
        return pieces + [Piece(days[:1], 0, 0)] * (rounds - len(pieces))

    def wrap(self, model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """Move `model` to `device`; the result averages its gradients over the group.

        The result shares its weights with `model`. In a sharded group no process has all weights on
        its device at once: the layers of a `ModuleList` are gathered one by one as they compute.
        All other weights are gathered for the whole pass.
        """
        if not self.sharded:
            model.to(device)
            return DistributedDataParallel(model) if self.size > 1 else model
        mesh = init_device_mesh(device.type, (self.size,))
        for module in list(model.modules()):
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    def accumulating(self, wrapped: torch.nn.Module, last: bool) -> AbstractContextManager[object]:
        """The context of one micro-batch: DDP exchanges gradients only in the `last` of a step.

        FSDP exchanges them in every one. To wait, it would have to keep whole gradients in memory.
        """
        if isinstance(wrapped, DistributedDataParallel) and not last:
            no_sync: AbstractContextManager[object] = wrapped.no_sync()
            return no_sync
        return nullcontext()

    def gathered(self, state: Any) -> Any:
        """The state dict with its sharded tensors made whole, on the CPU of the first process.

        All processes must call this together. In all but the first, the sharded tensors come back
        empty. torch's own `get_optimizer_state_dict` is not used, because it would take an
        optimiser step if none was taken yet.
        """
        if isinstance(state, dict):
            return {key: self.gathered(value) for key, value in state.items()}
        if isinstance(state, DTensor):
            whole = state.full_tensor()
            return whole.cpu() if self.first else whole.new_empty(0)
        return state

    def placed(
        self, model: torch.nn.Module, weights: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """This process's part of whole weights of `model`."""
        own = model.state_dict()
        return {name: _placed(weights[name], own[name]) for name in weights}

    def load(
        self,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        weights: dict[str, torch.Tensor],
        optimiser_state: dict[str, Any],
    ) -> None:
        """Load a saved state of whole tensors; each process keeps its own part of them."""
        model.load_state_dict(self.placed(model, weights))
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        moments = {
            index: {name: _placed(value, parameters[index]) for name, value in kept.items()}
            for index, kept in optimiser_state["state"].items()
        }
        optimiser.load_state_dict({**optimiser_state, "state": moments})

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of `value` over all processes, known to each of them."""
        if self.size > 1:
            dist.all_reduce(value)
            value = value / self.size
        return value

    def any(self, here: bool) -> bool:
        """Whether `here` is true in at least one process.

        All processes get the same answer at the same step, so they act together. If one of them
        saved or stopped alone, the others would wait for it for ever.
        """
        if self.size == 1:
            return here
        flag = torch.tensor(int(here))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.control)
        return bool(flag.item())

    def agreed(self, reason: str | None) -> str | None:
        """A reason to stop, in all processes at the same step, if at least one of them has one."""
        stop = self.any(reason is not None)
        return (reason or "another process of this training was stopped") if stop else None

    def as_first(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The first process's `values`, in all processes.

        Processes may round differently, and must not decide differently because of that.
        """
        return self.from_first(lambda: values)

    def from_first(self, ask: Callable[[], T]) -> T:
        """Let the first process call `ask`; all processes return its answer, or raise its error.

        Only a `UserError` is passed on. Asking one process matters for files on a shared disk,
        because other nodes may see an older state of it for a while.
        """
        answer: list[Any]
        try:
            answer = [ask() if self.first else None]
        except UserError as error:
            answer = [error]
        if self.size > 1:
            dist.broadcast_object_list(answer, src=0, group=self.control)
        if isinstance(answer[0], UserError):
            raise answer[0]
        found: T = answer[0]
        return found

    def refuse_other_than_first(self, identity: dict[str, Any]) -> None:
        """Raise a `UserError` in all processes if `identity` is not the same in all of them."""
        expected = self.from_first(lambda: identity)
        differing = sorted(key for key in identity if identity[key] != expected[key])
        if self.any(bool(differing)):
            raise UserError(
                f"a process of this training differs from the first in {', '.join(differing)}; "
                "allowed: the same files, packages and kind of device on every node"
                if differing
                else "another process of this training differs from the first; its message says how"
            )

    def wait(self) -> None:
        """Wait until every process has come to this point."""
        if self.size > 1:
            dist.barrier(group=self.control)


ALONE = Group()


def _placed(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of `value` if `like` is sharded. Adam's step counts are not sharded."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def launched() -> bool:
    """Whether torchrun started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device, sharded: bool = False) -> Iterator[Group]:
    """The group of processes that torchrun started, or a group of one without torchrun.

    Raises `UserError` if one process alone is asked to shard.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not launched():
        if sharded:
            raise UserError(
                "--shard: one process has nobody to share with; allowed: two or more; type "
                "torchrun --nproc-per-node 2 -m -- scaling.train --shard ..., or leave --shard out"
            )
        yield ALONE
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        control = dist.new_group(backend="gloo") if device.type == "cuda" else dist.group.WORLD
        yield Group(dist.get_rank(), dist.get_world_size(), control, sharded)
    finally:
        dist.destroy_process_group()


def too_large(parameters: int, free: int) -> bool:
    """Whether a model's state takes more than half of `free` bytes. Activations need the rest."""
    return STATE_BYTES * parameters > free / 2


def shared_if_large(group: Group, device: torch.device, parameters: int) -> Group:
    """`group`, sharded if the model's state would take more than half of a device's memory.

    On a CPU the processes of a node divide its memory.
    """
    if group.size == 1 or group.sharded:
        return group
    sharers = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = group.from_first(lambda: free_memory(device.type) // sharers)
    if not too_large(parameters, free):
        return group
    LOG.info(
        f"weights, gradients and optimiser state need {STATE_BYTES * parameters / GIB:.2f} GiB, "
        f"more than half of the {free / GIB:.2f} GiB free for a process: the {group.size} "
        "processes share them (FSDP2)"
    )
    return replace(group, sharded=True)


@contextmanager
def claimed_device(
    device: torch.device,
    count: int,
    directory: Path | None = None,
) -> Iterator[torch.device]:
    """One of the `count` visible GPUs, which no other training on this machine uses meanwhile.

    This is needed because Snakemake counts GPUs but does not assign them. A single visible GPU is
    taken without a claim, because that is how schedulers assign one. torchrun assigns GPUs by local
    rank. A device that is not CUDA is returned as it is.
    """
    if device.type != "cuda":
        yield device
    elif launched():
        yield torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    elif count == 1:
        yield torch.device("cuda", 0)
    else:
        folder = directory or Path(tempfile.gettempdir()) / "scaling-devices"
        index, lock = _lock_one(count, folder)
        try:
            yield torch.device("cuda", index)
        finally:
            lock.release()


def _lock_one(count: int, folder: Path) -> tuple[int, FileLock]:
    """Lock a GPU that is free, or wait until one is. A lock ends with its process."""
    folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
    locks = [FileLock(folder / f"cuda-{index}.lock", mode=0o666) for index in range(count)]
    seconds = 0
    while True:
        for index, lock in enumerate(locks):
            with suppress(Timeout):
                lock.acquire(timeout=seconds)
                return index, lock
        if not seconds:
            LOG.info(f"all {count} GPUs are taken by other trainings: waiting for one ({folder})")
            seconds = 1
