"""The machine that trains: which device, which precision, and its process-wide settings."""

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal

import torch

from scaling.errors import UserError

Precision = Literal["fp32", "bf16"]


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
    """Process-wide settings, once, before the first tensor; they change no result."""
    if device.type == "cpu":
        threads = os.environ.get("OMP_NUM_THREADS")
        if threads:
            torch.set_num_threads(int(threads))
