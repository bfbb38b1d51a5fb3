"""One training on several processes: `torchrun --nproc-per-node 2 -m -- scaling.train …`.

Each process computes a share of every optimiser batch; the gradients are averaged, so the batch,
and with it the losses, stay those of one process. Only process 0 writes, logs and tracks.
Where weights, gradients and optimiser state would fill half of a device, or with `--shard`, each
process keeps only a share of them (FSDP2); what is saved is gathered, so that files are the same
with and without.
"""

import math
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
TIMEOUT = timedelta(minutes=30)  # of a collective; the first waits for every process's imports

# Bytes a parameter: fp32 weight, gradient and AdamW's two moments (Rajbhandari et al. 2020, ZeRO,
# section 3.1).
STATE_BYTES = 16
GIB = 2**30


class Piece(NamedTuple):
    """A micro-batch: its days, the weight of its loss, and its first day's place in the batch."""

    days: torch.Tensor
    weight: int
    first: int


@dataclass(frozen=True)
class Group:
    """The processes of one training. A group of one does nothing at all.

    `control` is a gloo group that carries flags beside NCCL's gradients: a flag on the GPU would
    have to wait for it at each step.
    """

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None
    sharded: bool = False

    @property
    def first(self) -> bool:
        """True in the one process that writes."""
        return self.rank == 0

    def pieces(self, days: torch.Tensor, micro_batch: int) -> list[Piece]:
        """This process's part of an optimiser batch, cut into micro-batches.

        The parts are disjoint and complete; a piece's weight undoes the averaging of gradients.
        Every process has as many pieces, as FSDP exchanges weights in each: where days are too
        few, the last ones compute a day that counts for nothing.
        """
        first = sum(len(part) for part in torch.tensor_split(days, self.size)[: self.rank])
        share = torch.tensor_split(days, self.size)[self.rank]
        pieces = []
        for piece in torch.split(share, micro_batch):
            if len(piece):
                pieces.append(Piece(piece, self.size, first))
                first += len(piece)
        rounds = math.ceil(math.ceil(len(days) / self.size) / micro_batch)
        return pieces + [Piece(days[:1], 0, 0)] * (rounds - len(pieces))

    def wrap(self, model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        """Move `model` to `device`; returns a callable that averages gradients over the group.

        Its weights are `model`'s own. Sharded, no process ever has all of them on the device: each
        layer of a `ModuleList` is gathered when it computes, what is outside them for the whole
        pass.
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
        """Around each micro-batch: only the `last` of a step exchanges DDP's gradients.

        FSDP exchanges at each: to wait for the last it would keep all gradients whole.
        """
        if isinstance(wrapped, DistributedDataParallel) and not last:
            no_sync: AbstractContextManager[object] = wrapped.no_sync()
            return no_sync
        return nullcontext()

    def gathered(self, state: Any) -> Any:
        """A state dict whose sharded tensors are whole, on the CPU of the first process.

        All processes must call it at once; on the others such tensors come back empty. torch's own
        `get_optimizer_state_dict` would take a step where none was taken yet.
        """
        if isinstance(state, dict):
            return {key: self.gathered(value) for key, value in state.items()}
        if isinstance(state, DTensor):
            whole = state.full_tensor()
            return whole.cpu() if self.first else whole.new_empty(0)
        return state

    def load(
        self,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        weights: dict[str, torch.Tensor],
        optimiser_state: dict[str, Any],
    ) -> None:
        """Put saved whole tensors back, each process keeping its own part of them."""
        own = model.state_dict()
        model.load_state_dict({name: _placed(weights[name], own[name]) for name in weights})
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        moments = {
            index: {name: _placed(value, parameters[index]) for name, value in kept.items()}
            for index, kept in optimiser_state["state"].items()
        }
        optimiser.load_state_dict({**optimiser_state, "state": moments})

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over the processes, in each of them."""
        if self.size > 1:
            dist.all_reduce(value)
            value = value / self.size
        return value

    def any(self, here: bool) -> bool:
        """True in all processes where it is true in one, at the same step: else they would hang."""
        if self.size == 1:
            return here
        flag = torch.tensor(int(here))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self.control)
        return bool(flag.item())

    def agreed(self, reason: str | None) -> str | None:
        """Any process's reason to stop, in all of them at the same step."""
        stop = self.any(reason is not None)
        return (reason or "another process of this training was stopped") if stop else None

    def as_first(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The first process's `values` in all: another's rounding must not decide differently."""
        if self.size > 1:
            dist.broadcast(torch.from_numpy(values), src=0, group=self.control)
        return values

    def from_first(self, ask: Callable[[], T]) -> T:
        """The first process's answer, or its `UserError`, in all: only it asks.

        What is on a shared disk looks older from another node for a while.
        """
        answer: list[Any] = [None]
        if self.first:
            try:
                answer = [ask()]
            except UserError as error:
                answer = [error]
        if self.size > 1:
            dist.broadcast_object_list(answer, src=0, group=self.control)
        if isinstance(answer[0], UserError):
            raise answer[0]
        found: T = answer[0]
        return found

    def refuse_other_than_first(self, identity: dict[str, Any]) -> None:
        """A `UserError` in all processes if one would compute something else than the first."""
        expected = self.from_first(lambda: identity)
        differing = sorted(key for key in identity if identity[key] != expected[key])
        if self.any(bool(differing)):
            raise UserError(
                f"a process of this training differs from the first in {', '.join(differing)}; "
                "allowed: the same files, packages and kind of device on every node"
                if differing
                else "another process of this training differs from the first; its line says how"
            )

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier(group=self.control)


ALONE = Group()


def _placed(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole tensor if `like` is sharded; a step count stays as it is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


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
def joined(device: torch.device, sharded: bool = False) -> Iterator[Group]:
    """The group that torchrun describes in the environment; alone without it."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not launched():
        if sharded:
            raise UserError(
                "--shard: one process has nobody to share with; allowed: two and more; type "
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
    """True if a model's state would take more than half of `free` bytes; activations need more."""
    return STATE_BYTES * parameters > free / 2


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def shared_if_large(
    group: Group, device: torch.device, parameters: int, say: Callable[[str], None]
) -> Group:
    """`group`, its processes sharing one model if its state would take half of a device's memory.

    On a CPU the processes of a node divide its memory.
    """
    if group.size == 1 or group.sharded:
        return group
    sharers = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    free = group.from_first(lambda: free_memory(device.type) // sharers)
    if not too_large(parameters, free):
        return group
    say(
        f"weights, gradients and optimiser state need {STATE_BYTES * parameters / GIB:.2f} GiB, "
        f"more than half of the {free / GIB:.2f} GiB free for a process: the {group.size} "
        "processes share them (FSDP2)"
    )
    return replace(group, sharded=True)


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
