"""What sets the runs of a study apart besides their size is said, one line for each setting."""

from dataclasses import replace
from typing import Any

import pytest

from scaling.judging.recipes import recipe_differences
from scaling.run import RunName
from tests.figures.planted_study import planted, put

RUNS = ["200k", "200k.seed43", "2m", "2m.seed43"]


def record(run: str) -> dict[str, Any]:
    small, seed = run.startswith("200k"), 43 if run.endswith("43") else 42
    budget = run.split(".")[0]
    shape = {
        **{"d_model": 32 if small else 128, "layers": 2 if small else 4, "heads": 4},
        **{"ffn_dim": 64 if small else 256, "learning_rate_multiplier": 2.0 if small else 1.0},
    }
    made = replace(
        planted(RunName(budget=budget, seed=seed)),
        settings={"window": {"context_length": 64}, "optimiser": {"epochs": 5}},
        model={**shape, "dropout": 0.1},
    )
    return {**made.titles(run), "identity": made.as_json()}


def test_size_seed_and_the_keys_declared_for_a_size_are_no_difference() -> None:
    assert recipe_differences([record(run) for run in RUNS]) == []


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("settings.optimiser.epochs", 9, "optimiser.epochs: 5 for 200k; 9 for 2m"),
        ("settings.window.context_length", 32, "window.context_length: 64 for 200k; 32 for 2m"),
        ("model.dropout", 0.3, "model.dropout: 0.1 for 200k; 0.3 for 2m"),
        ("precision", "bf16", "precision: fp32 for 200k; bf16 for 2m"),
        ("micro_batch", 8, "micro_batch: 32 for 200k; 8 for 2m"),
        ("device", "cuda", "device: cpu for 200k; cuda for 2m"),
        ("code", "new", "code: c0de for 200k; new for 2m"),
        ("versions.torch", "2.9", "versions.torch: 2.8 for 200k; 2.9 for 2m"),
        ("settings.optimiser.momentum", 0.9, "optimiser.momentum: nothing for 200k; 0.9 for 2m"),
    ],
)
def test_another_recipe_at_another_size_is_said(key: str, value: Any, line: str) -> None:
    records = [record(run) for run in RUNS]
    for odd in records[2:]:
        put(odd["identity"], key, value)
    assert recipe_differences(records) == [line]


def test_a_single_run_with_another_recipe_is_named() -> None:
    records = [record(run) for run in RUNS]
    records[3]["identity"]["settings"]["optimiser"]["epochs"] = 9
    assert recipe_differences(records) == ["optimiser.epochs: 5 for 200k, 2m; 9 for 2m.seed43"]
