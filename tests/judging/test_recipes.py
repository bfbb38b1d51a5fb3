"""What sets the runs of a study apart besides their size is said, one line for each setting."""

from dataclasses import replace
from typing import Any

import pytest

from scaling.judging.recipes import recipe_differences, serves_every_size
from scaling.run import RunName
from tests.figures.planted_study import planted, put

RUNS = ["200k", "200k.seed43", "2m", "2m.seed43"]


def record(run: str) -> dict[str, Any]:
    small, seed = run.startswith("200k"), 43 if run.endswith("43") else 42
    budget = run.split(".")[0]
    shape = {
        **{"d_model": 32 if small else 128, "layers": 2 if small else 4, "heads": 4},
        **{"ffn_dim": 64 if small else 256},
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


# --- one recipe for every size ---------------------------------------------------------------


def trained(
    budget: str, first_step: float, loss: float = 0.385, origin: int | None = None, **changes: Any
) -> dict[str, Any]:
    """A record of a sound training: three looks at validation, of which the second is best."""
    looks = [{"val_log_loss": v, "train_loss": 0.45} for v in (0.43, 0.40, 0.41)]
    looks[-1]["train_loss"] = loss
    run = planted(RunName(budget=budget, origin=origin, seed=42))
    found = {"first_step": first_step, "clipped": 0.42, "looks": looks}
    return {**run.titles("run"), "identity": run.as_json(), **found, **changes}


def passed(*records: dict[str, Any]) -> bool | None:
    (found,) = serves_every_size(records)
    verdict: bool | None = found["passed"]
    return verdict


SMALL = [trained("200k", 1.30, 0.384), trained("200k", 1.25, 0.388)]


def test_the_sizes_as_the_rule_trains_them_pass() -> None:
    measured = {"600k": 1.11, "2m": 1.22, "20m": 1.13, "200m": 1.18}
    assert passed(*SMALL, *(trained(budget, step) for budget, step in measured.items()))


@pytest.mark.parametrize(("budget", "first_step"), [("2m", 8.0), ("20m", 4.3), ("200m", 5.4)])
def test_the_sizes_as_they_were_trained_by_a_rate_of_their_own_fail(
    budget: str, first_step: float
) -> None:
    assert not passed(*SMALL, trained(budget, first_step))


@pytest.mark.parametrize(
    "planted",
    [
        {"first_step": 0.4},
        {"loss": 0.395},
        {"clipped": 0.8},
        {"looks": [{"val_log_loss": v, "train_loss": 0.385} for v in (0.40, 0.42, 0.41)]},
    ],
    ids=str,
)
def test_each_sign_of_a_recipe_that_does_not_fit_fails(planted: dict[str, Any]) -> None:
    assert not passed(*SMALL, trained(**{"budget": "20m", "first_step": 1.2, **planted}))


def test_with_one_seed_each_training_losses_are_not_judged_and_the_check_says_so() -> None:
    (found,) = serves_every_size([SMALL[0], trained("20m", 1.2, 0.42)])
    assert found["passed"] and "one seed each" in found["found"]


def test_a_single_size_has_nothing_to_be_compared_with() -> None:
    assert serves_every_size(SMALL) == []


def test_folds_that_differ_do_not_hide_a_size_that_is_not_trained_in_any_of_them() -> None:
    """The years of one fold are harder to fit than those of the other, by 0.05 nats."""
    folds = {1996: 0.38, 2010: 0.43}
    small = [
        trained("200k", 1.3, loss + noise, origin)
        for origin, loss in folds.items()
        for noise in (-0.001, 0.001)
    ]
    large = [trained("20m", 1.3, loss + 0.03, origin) for origin, loss in folds.items()]
    sound = [trained("20m", 1.3, loss, origin) for origin, loss in folds.items()]
    assert passed(*small, *sound)
    assert not passed(*small, *large)
