"""A run that config, data or code no longer ask for is refused with the key that differs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaling import identities
from scaling.errors import UserError
from scaling.judging import identity
from scaling.judging.identity import refuse_outdated
from scaling.run import Run, RunName, TrainingDays
from scaling.sizes import load_model_config
from tests.figures.planted_study import put

CONFIG = Path("configs/daily/threshold_1pct.yaml")
SMALL = RunName(budget="200k", seed=42)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data and the code are what the runs below say."""
    monkeypatch.setattr(identity, "verified_data", lambda config: ("prices", "features"))
    monkeypatch.setattr(identities, "code_digest", lambda entry, family=None: f"code of {entry}")


def trained(name: RunName = SMALL) -> Run:
    """A run that is what the shipped config asks for, trained on some machine."""
    config = identities.config_of(CONFIG, name)
    asked = identities.run_of(config, load_model_config(name.budget), "daily/threshold_1pct")
    found = {"prices": "prices", "features": "features", "labels": "labels"}
    return replace(asked, **found, code="code of train", device="cuda", micro_batch=8)


def otherwise(key: str, value: Any) -> Run:
    """The run with another value under a dotted key."""
    made = trained().as_json()
    put(made, key, value)
    return Run.of({"identity": made}, "1k.json")


def refusal(*runs: Run) -> str:
    with pytest.raises(UserError) as caught:
        refuse_outdated(runs, CONFIG)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_runs_that_are_what_is_asked_pass() -> None:
    drawn = RunName(budget="2m", days=TrainingDays(500, "blocks"), seed=43)
    refuse_outdated([trained(), trained(RunName(budget="2m", seed=43)), trained(drawn)], CONFIG)


def leaves(content: dict[str, Any], prefix: str) -> list[str]:
    found = []
    for key, value in content.items():
        inside = leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        found += inside or [f"{prefix}{key}"]
    return found


COMPARED = [
    *leaves(dict(trained().settings), "settings."),
    *leaves(dict(trained().model), "model."),
    *("precision", "prices", "features", "code"),
]


@pytest.mark.parametrize("key", COMPARED)
def test_every_setting_of_a_training_its_data_and_its_code_are_compared(key: str) -> None:
    message = refusal(otherwise(key, "another"))
    name = key.removeprefix("settings.")
    assert message.startswith(f"results/daily/threshold_1pct/200k.ckpt: {name} is another, not ")
    assert message.endswith("train again: snakemake --force results/daily/threshold_1pct/200k.ckpt")


@pytest.mark.parametrize(
    ("key", "value"),
    [("versions.torch", "1.0"), ("device", "mps"), ("micro_batch", 3), ("labels", "another")],
)
def test_what_only_a_machine_tells_is_not_compared(key: str, value: Any) -> None:
    refuse_outdated([otherwise(key, value)], CONFIG)


def test_a_setting_that_trains_nothing_is_no_part_of_a_run() -> None:
    assert not {*identities.NOT_TRAINING} & {key.partition(".")[0] for key in trained().values()}


def test_a_setting_that_there_was_not_and_one_that_there_is_no_more_are_named() -> None:
    made = trained().as_json()
    del made["settings"]["optimiser"]["epochs"]
    made["settings"]["optimiser"]["momentum"] = 0.9
    message = refusal(Run.of({"identity": made}, "1k.json"))
    assert "optimiser.epochs is nothing, not 5" in message
    assert "optimiser.momentum is 0.9, not nothing" in message


def test_all_old_runs_are_named_in_the_command() -> None:
    names = [RunName(budget="200k", seed=seed) for seed in (42, 43, 44)]
    old = [replace(trained(name), code="another") for name in names]
    message = refusal(trained(RunName(budget="2m", seed=42)), *old)
    assert "2 more runs are old, too" in message
    ckpts = " ".join(
        f"results/daily/threshold_1pct/200k{seed}.ckpt" for seed in ("", ".seed43", ".seed44")
    )
    assert message.endswith(f"train again: snakemake --force {ckpts}")
