"""What sets the runs of a study apart besides their size is said, one line for each setting."""

from typing import Any

import pytest

from scaling.judging.recipes import recipe_differences, serves_every_size

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


# --- one recipe for every size ---------------------------------------------------------------


def trained(budget: str, first_step: float, loss: float = 0.385, **changes: Any) -> dict[str, Any]:
    """A record of a sound training: three looks at validation, of which the second is best."""
    looks = [{"val_log_loss": v, "train_loss": 0.45} for v in (0.43, 0.40, 0.41)]
    looks[-1]["train_loss"] = loss
    made = {"budget": budget, "first_step": first_step, "clipped": 0.42, "looks": looks}
    return {**made, **changes}


def passed(*records: dict[str, Any]) -> bool | None:
    (found,) = serves_every_size(records)
    verdict: bool | None = found["passed"]
    return verdict


SMALL = [trained("200k", 1.30, 0.384), trained("200k", 1.25, 0.388)]


def test_the_sizes_as_the_rule_trains_them_pass() -> None:
    measured = {"600k": 1.11, "2m": 1.22, "20m": 1.13, "200m": 1.19}
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
