"""What a GPU is to be asked runs from end to end, here on a CPU and with few packages."""

import importlib
import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.miniature import environment

NEEDED = {"numpy", "pandas", "pyarrow", "pydantic", "torch", "transformers"}
BROUGHT_BY_THEM = {"filelock", "jinja2", "pyyaml", "tqdm"}
IMPORTED_AS = {"nvidia_ml_py": "pynvml", "scikit_learn": "sklearn", "ta_lib": "talib"}


def packages_that_are_not_needed() -> list[str]:
    """The modules of this project's other packages."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}
    others = {name.replace("-", "_") for name in names - NEEDED - BROUGHT_BY_THEM}
    return sorted(IMPORTED_AS.get(name, name) for name in others)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_every_part_on_a_machine_with_six_packages(tmp_path: Path) -> None:
    missing = packages_that_are_not_needed()
    assert {"mlflow", "psutil", "scipy", "snakemake", "talib"} <= set(missing)
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({missing}))\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    output = tmp_path / "gpu.json"
    command = [sys.executable, "benchmarks/gpu.py", "--output", str(output), "--device", "cpu"]
    tiny = ["--budgets", "200k", "--batches", "2", "--steps", "1"]
    done = subprocess.run(
        [*command, *tiny],
        env={**environment(), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {(part["part"], part["who"]): part for part in json.loads(output.read_text())["parts"]}
    assert parts["agreement", None]["fp32"] == {"logits": 0.0, "gradient": 0.0}
    assert 0 < parts["agreement", None]["bf16"]["gradient"] < 0.1
    assert parts["graph", None]["largest_weight_difference"] == 0.0
    assert parts["resume", None]["exit_code"] == -9
    assert parts["resume", None]["resumed_from"]
    assert parts["resume", None]["same_bits"]
    speeds = {who: part["flops_per_second"] for (name, who), part in parts.items() if who}
    assert set(speeds) == {"peak", "naive", "plain", "ours"}
    assert min(speeds.values()) > 0


def test_a_part_that_fails_or_comes_too_late_says_so_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend("benchmarks")
    gpu = importlib.import_module("gpu")
    cell = {"budget": "2m", "batch": 32, "who": "ours", "device": "cpu"}

    def broken(cell: dict[str, object]) -> dict[str, object]:
        raise RuntimeError("out of memory")

    late, failed = (gpu.attempt(broken, cell, deadline) for deadline in (0, math.inf))
    assert "were over" in late["failed"]
    assert failed["failed"] == "RuntimeError: out of memory"
    assert (failed["part"], failed["budget"], failed["who"]) == ("broken", "2m", "ours")
