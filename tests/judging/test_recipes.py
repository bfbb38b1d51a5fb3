"""What sets the runs of a study apart besides their size is said, one line for each setting."""

from typing import Any

import pytest

from scaling.judging.recipes import recipe_differences

RUNS = ["200k", "200k.seed43", "2m", "2m.seed43"]


def record(run: str) -> dict[str, Any]:
    small = run.startswith("200k")
    return {
        "run": run,
        "budget": run.split(".")[0],
        "seed": 43 if run.endswith("43") else 42,
        "config": {
            "seed": 43 if run.endswith("43") else 42,
            "window": {"context_length": 64},
            "optimiser": {"epochs": 5, "weight_decay": 0.01},
        },
        "model": {
            **{"d_model": 32 if small else 128, "layers": 2 if small else 4, "heads": 4},
            **{"ffn_dim": 64 if small else 256, "dropout": 0.1},
        },
        "precision": "fp32",
        "micro_batch": 32,
        "device": "cpu",
        "code_digest": "c0de",
        "versions": {"python": "3", "torch": "2.8", "transformers": "5.0", "numpy": "2.3"},
    }


def test_size_seed_and_the_keys_declared_for_a_size_are_no_difference() -> None:
    assert recipe_differences([record(run) for run in RUNS]) == []


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("optimiser", "epochs", 9, "epochs: 5 for 200k; 9 for 2m"),
        ("optimiser", "weight_decay", 0.1, "weight decay: 0.01 for 200k; 0.1 for 2m"),
        ("window", "context_length", 32, "context length: 64 for 200k; 32 for 2m"),
        ("model", "dropout", 0.3, "dropout: 0.1 for 200k; 0.3 for 2m"),
        (None, "precision", "bf16", "precision: fp32 for 200k; bf16 for 2m"),
        (None, "micro_batch", 8, "micro-batch: 32 for 200k; 8 for 2m"),
        (None, "device", "cuda", "device: cpu for 200k; cuda for 2m"),
        (None, "code_digest", "new", "training code: c0de for 200k; new for 2m"),
        ("versions", "torch", "2.9", "torch: 2.8 for 200k; 2.9 for 2m"),
    ],
)
def test_another_recipe_at_another_size_is_said(
    section: str | None, key: str, value: Any, line: str
) -> None:
    records = [record(run) for run in RUNS]
    for odd in records[2:]:
        holder = odd["config"] if section in odd["config"] else odd
        (holder[section] if section else holder)[key] = value
    assert recipe_differences(records) == [line]


def test_a_single_run_with_another_recipe_is_named() -> None:
    records = [record(run) for run in RUNS]
    records[3]["config"]["optimiser"]["epochs"] = 9
    assert recipe_differences(records) == ["epochs: 5 for 200k, 2m; 9 for 2m.seed43"]
