"""A run that config, data or code no longer ask for is refused with the key that differs."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from scaling import config as configs
from scaling.errors import UserError
from scaling.judging import identity
from scaling.judging.identity import refuse_outdated
from scaling.names import Run, run_name
from scaling.sizes import load_model_config

CONFIG = Path("configs/daily/threshold_1pct.yaml")


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data and the code are what the records below say."""
    monkeypatch.setattr(identity, "verified_data", lambda config, stamp: ("prices", "features"))
    monkeypatch.setattr(identity, "code_digest", lambda entry, family: f"code of {entry}")


def record_of(budget: str = "200k", seed: int = 42) -> dict[str, Any]:
    """The record of a run that is what the shipped config asks, as far as it is compared."""
    config = configs.load_config(CONFIG, budget, seed)
    record = {
        "experiment": "daily/threshold_1pct",
        "run": run_name(Run(budget, seed), 42),
        "budget": budget,
        "seed": seed,
        "config": configs.as_dict(config),
        "model": configs.as_dict(load_model_config(budget)),
        "data_md5": "prices",
        "features_md5": "features",
        "code_digest": "code of train",
    }
    return dict(json.loads(json.dumps(record)))


def refusal(*records: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        refuse_outdated(records, CONFIG)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_runs_that_are_what_is_asked_pass() -> None:
    on_some_days = record_of("2m", 43)
    on_some_days["config"] |= {"train_days": 500, "days": "blocks"}
    refuse_outdated([record_of(), record_of("2m", 43), on_some_days], CONFIG)


# The run's own name has them, so they are asked for as long as the run is.
OF_THE_RUN = ("param_budget", "seed", "train_days", "days")
LEAVES = [
    (part, section, key)
    for part, content in (("config", record_of()["config"]), ("model", {"": record_of()["model"]}))
    for section, values in content.items()
    for key in (values if isinstance(values, dict) else [""])
    if section not in (*configs.NOT_TRAINING, *OF_THE_RUN)
]


@pytest.mark.parametrize(("part", "section", "key"), LEAVES, ids=" ".join)
def test_every_setting_of_a_training_is_compared(part: str, section: str, key: str) -> None:
    record = record_of()
    content = record[part][section] if key and section else record[part]
    content[key or section] = "another"
    message = refusal(record)
    name = f"model.{key}" if part == "model" else ".".join(filter(None, (section, key)))
    assert f"{name} was another, and is " in message
    assert "snakemake --force results/daily/threshold_1pct/200k.ckpt" in message


@pytest.mark.parametrize("section", configs.NOT_TRAINING)
def test_a_setting_that_trains_nothing_is_not_compared(section: str) -> None:
    record = record_of()
    record["config"][section] = "another"
    refuse_outdated([record], CONFIG)


@pytest.mark.parametrize(
    ("key", "name"),
    [("data_md5", "prices"), ("features_md5", "features"), ("code_digest", "training code")],
)
def test_data_and_code_are_compared(key: str, name: str) -> None:
    assert f"{name} was another, and is {record_of()[key]} now" in refusal(
        {**record_of(), key: "another"}
    )


def test_a_setting_that_there_was_not_and_one_that_there_is_no_more_are_named() -> None:
    record = copy.deepcopy(record_of())
    del record["config"]["optimiser"]["epochs"]
    record["config"]["optimiser"]["momentum"] = 0.9
    message = refusal(record)
    assert "optimiser.epochs was None, and is" in message
    assert "optimiser.momentum was 0.9, and is None now" in message


def test_all_old_runs_are_named_in_the_command() -> None:
    old = [{**record_of(seed=seed), "code_digest": "another"} for seed in (42, 43, 44)]
    message = refusal(record_of("2m"), *old)
    assert "(2 more runs are old, too)" in message
    ckpts = " ".join(
        f"results/daily/threshold_1pct/200k{seed}.ckpt" for seed in ("", ".seed43", ".seed44")
    )
    assert message.endswith(f"train again: snakemake --force {ckpts}")
