"""The machine that trains: which device, which precision, and its process-wide settings."""

import ctypes
import platform
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import psutil
import torch

from scaling.errors import UserError

Precision = Literal["fp32", "bf16"]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def choose_device(asked: str = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU; a named device must be there."""
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if asked == "auto":
        return torch.device(next(name for name, is_there in present.items() if is_there))
    if not present.get(asked, False):
        allowed = ", ".join(name for name, is_there in present.items() if is_there)
        raise UserError(
            f"device: {asked!r} is not usable here; allowed: auto, {allowed}; "
            "type --device auto, or set `device: auto` in the config"
        )
    return torch.device(asked)


def device_name(device: torch.device) -> str:
    """What the hardware calls itself: the GPU's name, or the CPU's from the kernel."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpus = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpus.is_file():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_memory(device: str) -> int:
    """Bytes a new process may take on `device` now; cgroup limits (Slurm, containers) count."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    return min(int(psutil.virtual_memory().available), *cgroup_free_memory())


def cgroup_free_memory(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """Bytes left below every memory limit on this process, cgroup v1 and v2; cache is not use."""
    left = [sys.maxsize]
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, usage = root, "memory.max", "memory.current"
        elif controllers == "memory":
            top, limit, usage = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            try:
                allowed = (group / limit).read_text().strip()
                used = int((group / usage).read_text())
                stat = dict(x.split() for x in (group / "memory.stat").read_text().splitlines())
            except OSError:
                continue  # a container sees only its own part of the tree
            if allowed != "max":
                left.append(max(0, int(allowed) - used + int(stat.get("inactive_file", 0))))
    return left


def choose_precision(asked: str, device: torch.device) -> Precision:
    """`auto` is bf16 on GPUs that compute in it, fp32 elsewhere: the CPU and MPS stay exact."""
    if asked == "auto":
        bf16_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if bf16_gpu else "fp32"
    if asked not in ("fp32", "bf16"):
        raise UserError(f"precision: got {asked!r}; allowed: auto, fp32, bf16")
    if asked == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UserError(
            f"precision: {torch.cuda.get_device_name(device)} has no bf16; type --precision fp32"
        )
    return "fp32" if asked == "fp32" else "bf16"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context a forward pass runs in: weights and loss stay fp32, matrix products may not."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def tune(device: torch.device) -> None:
    """Process-wide settings, once, before the first tensor; they make no result less exact.

    On a CPU freed pages are kept, and oneDNN multiplies matrices where it does so in full fp32.
    The number of threads is `OMP_NUM_THREADS`, which the workflow sets; torch reads it by itself.
    """
    if device.type != "cpu":
        return
    _keep_freed_pages()
    # "medium" lets oneDNN round fp32 operands to bf16: on a CPU without AMX it does not, and its
    # kernels are 5 to 15 % faster than MKL's (benchmarks/README.md). Where it rounds, it is off.
    torch.set_float32_matmul_precision("medium")
    if not matmul_is_exact():
        torch.set_float32_matmul_precision("highest")


def matmul_is_exact() -> bool:
    """Whether fp32 products keep all 24 bits: 1 + 2**-20 is 1 in bf16, in TF32 and in fp16."""
    identity = torch.eye(256)
    operand = torch.full((256, 256), 1 + 2.0**-20)
    return all(
        torch.equal(product, operand)
        for product in (operand @ identity, identity @ operand, operand.t() @ identity)
    )


def _keep_freed_pages() -> None:
    """Tell glibc to return no memory to the kernel: a step would fault 97,000 pages in again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
