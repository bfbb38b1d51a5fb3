"""A device or precision that is not there is refused, and being faster costs no exactness."""

import subprocess
import sys

import pytest
import torch

from scaling.errors import UserError
from scaling.machine.device import autocast, choose_device, choose_precision, matmul_is_exact


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: bool(there))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: bool(there))
        assert choose_device("auto").type == expected


def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="'cuda' is not usable here; allowed: auto,.*cpu"):
        choose_device("cuda")


def test_precision_on_a_cpu_is_fp32_unless_bf16_is_asked_for() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("auto", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    with pytest.raises(UserError, match="allowed in the config: auto, fp32, bf16"):
        choose_precision("fp16", cpu)


def test_autocast_rounds_products_in_bf16_and_not_in_fp32() -> None:
    a = torch.ones(2, 2)
    for precision, dtype in [("fp32", torch.float32), ("bf16", torch.bfloat16)]:
        with autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]
            assert (a @ a).dtype == dtype


def test_the_exactness_probe_sees_products_rounded_to_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert matmul_is_exact()
    exact = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: exact(a.bfloat16().float(), b.bfloat16().float())
    )
    assert not matmul_is_exact()


def test_fp32_products_stay_within_fp32_accuracy_after_tuning() -> None:
    """Run in a process of its own, because the settings hold for a whole process."""
    script = """
import torch
from scaling.machine.device import tune
tune(torch.device("cpu"))
torch.manual_seed(0)
for m, k, n in [(640, 256, 768), (640, 768, 256), (64, 8, 256)]:
    a, b = torch.randn(m, k), torch.randn(k, n)
    error = ((a @ b).double() - a.double() @ b.double()).abs() / (a.abs() @ b.abs())
    assert error.max() < 2e-6, error.max()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
