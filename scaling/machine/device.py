"""Which device computes, in which precision, with which settings and how much free memory."""

import ctypes
import platform
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch

from scaling.errors import UserError

Precision = Literal["fp32", "bf16"]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def choose_device(asked: str = "auto") -> torch.device:
    """The device that was asked for. `auto` prefers CUDA to Apple's MPS, and MPS to the CPU.

    Raises `UserError` if this machine does not have it.
    """
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
            "set `device: auto` in the config"
        )
    return torch.device(asked)


def device_name(device: torch.device) -> str:
    """The product name of the GPU, or of the CPU as Linux reports it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpus = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpus.is_file():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_memory(device: str) -> int:
    """Bytes that a new process may take on `device` now.

    On a CPU the limits that Slurm and containers set through cgroups are respected.
    """
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    import psutil  # a machine that only computes has no need of it

    return min(int(psutil.virtual_memory().available), *cgroup_free_memory())


def cgroup_free_memory(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """Bytes left under each memory limit of this process, in cgroups v1 and v2.

    Pages that only cache files count as free, because the kernel drops them when memory is short.
    The list also holds `sys.maxsize`, so that it always has a minimum.
    """
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
                continue  # a container does not see the groups above its own
            if allowed != "max":
                left.append(max(0, int(allowed) - used + int(stat.get("inactive_file", 0))))
    return left


def choose_precision(asked: str, device: torch.device) -> Precision:
    """The precision that was asked for. `auto` is bf16 on GPUs that compute in it, else fp32.

    Raises `UserError` for an unknown precision, and for bf16 on a GPU that does not have it.
    """
    if asked == "auto":
        bf16_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if bf16_gpu else "fp32"
    if asked not in ("fp32", "bf16"):
        raise UserError(f"precision: got {asked!r}; allowed in the config: auto, fp32, bf16")
    if asked == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UserError(
            f"precision: {torch.cuda.get_device_name(device)} has no bf16; "
            "set `precision: auto` or `precision: fp32` in the config"
        )
    return "fp32" if asked == "fp32" else "bf16"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """The context of a forward pass. In bf16 the matrix products are rounded; weights stay fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def tune(device: torch.device) -> None:
    """Make this process faster on a CPU, without making any result less exact.

    Call it once, before the first tensor is made. It keeps freed memory in the process, and lets
    oneDNN multiply matrices if oneDNN does so in full fp32 here. It does not set the number of
    threads: torch reads `OMP_NUM_THREADS` by itself.
    """
    if device.type != "cpu":
        return
    _keep_freed_pages()
    # "medium" chooses oneDNN's kernels, which are 5 to 15 % faster than MKL's
    # (benchmarks/README.md). It also allows oneDNN to round fp32 operands to bf16, which oneDNN
    # does on CPUs with AMX. On such a CPU the setting is undone.
    torch.set_float32_matmul_precision("medium")
    if not matmul_is_exact():
        torch.set_float32_matmul_precision("highest")


def matmul_is_exact() -> bool:
    """Whether matrix products keep the 24 bits of fp32.

    The operand 1 + 2**-20 would be rounded to 1 in bf16, in TF32 and in fp16.
    """
    identity = torch.eye(256)
    operand = torch.full((256, 256), 1 + 2.0**-20)
    return all(
        torch.equal(product, operand)
        for product in (operand @ identity, identity @ operand, operand.t() @ identity)
    )


def _keep_freed_pages() -> None:
    """Tell glibc to return no memory to the kernel.

    Otherwise each training step would fault about 97,000 pages in again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl, another C library of Linux, has no mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # -1 means never
