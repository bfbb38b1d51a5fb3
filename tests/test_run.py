"""A run is one value: its name, its columns, its JSON and every difference come from its fields."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from scaling.config import as_dict, load_config
from scaling.errors import UserError
from scaling.identities import NOT_TRAINING, run_of
from scaling.record import write_json
from scaling.run import (
    ALL_DAYS,
    NAME,
    Difference,
    Run,
    RunName,
    TrainingDays,
    difference,
    outdated,
    refuse,
    sample_flags,
    sample_of,
)
from scaling.sizes import load_model_config
from tests.figures.planted_study import planted

SHIPPED = Path("configs/daily/threshold_1pct.yaml")


def named(budget: str, seed: int = 42, *days: Any) -> RunName:
    return RunName(budget=budget, days=TrainingDays(*days), seed=seed)


def fold(budget: str, seed: int = 42, *days: Any) -> RunName:
    return dataclasses.replace(named(budget, seed, *days), origin=1996)


NAMES = {
    "2m": named("2m"),
    "2m.seed43": named("2m", 43),
    "2m.seed0": named("2m", 0),
    "2m.days1000": named("2m", 42, 1000),
    "2m.days1000.seed43": named("2m", 43, 1000, "recent"),
    "2m.blocks1000": named("2m", 42, 1000, "blocks"),
    "200k.blocks250.seed43": named("200k", 43, 250, "blocks"),
    "baselines.days1000": named("baselines", 42, 1000),
    "2m.from1996": fold("2m"),
    "2m.from1996.seed43": fold("2m", 43),
    "2m.days1000.from1996": fold("2m", 42, 1000),
    "2m.blocks1000.from1996.seed43": fold("2m", 43, 1000, "blocks"),
    "baselines.from1996": fold("baselines"),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_and_its_name_say_the_same(name: str) -> None:
    assert NAMES[name].written(own_seed=42) == name
    assert RunName.read(name, own_seed=42) == NAMES[name]


@pytest.mark.parametrize(
    ("name", "right"), [("2m.seed42", "2m"), ("2m.days1000.seed42", "2m.days1000")]
)
def test_the_own_seed_stands_in_no_name(name: str, right: str) -> None:
    with pytest.raises(UserError, match=f"its run is named `{right}`"):
        RunName.read(name, own_seed=42)


@pytest.mark.parametrize(
    "name",
    [
        *("2m.seed043", "2m.days0", "2m.days0100", "2m.days", "2m.seed", "2m.seed43.days1000"),
        *("2m.from0996", "2m.from96", "2m.from", "2m.from1996.days1000", "2m.from1996.from1998"),
        *("2m.days1000.blocks1000", "2m.recent1000", "2m.days-1", "2m.", "", "2m/3", "2m.seed1e3"),
    ],
)
def test_a_run_has_one_name_only(name: str) -> None:
    with pytest.raises(UserError, match="no name of a run"):
        RunName.read(name, own_seed=42)


def test_columns_and_words_have_one_spelling_of_the_training_days() -> None:
    assert named("2m").columns() == {
        **{"budget": "2m", "train_days": "all", "draw": "recent", "seed": 42},
    }
    drawn = named("2m", 43, 500, "blocks")
    assert drawn.columns()["train_days"] == "500"
    assert (str(named("2m")), str(drawn)) == (
        "2m seed 42",
        "2m seed 43 on 500 blocks training days",
    )


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ([], {}),
        (["--train-days", "500"], {"days": TrainingDays(500)}),
        (["--train-days", "500", "--draw", "blocks"], {"days": TrainingDays(500, "blocks")}),
        (["--origin", "1996", "--markets", "4"], {"origin": 1996, "markets": 4}),
    ],
)
def test_flags_give_training_days_markets_and_a_fold(
    flags: list[str], given: dict[str, Any]
) -> None:
    parser = argparse.ArgumentParser()
    sample_flags(parser)
    found = sample_of(parser.parse_args(flags))
    assert found == {"days": ALL_DAYS, "markets": None, "origin": None, **given}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train-days", "0"], "train_days: got 0; allowed: a number of days above 0, or `all`"),
        (["--draw", "blocks"], "draw: got blocks, but no train_days; allowed: blocks of a number"),
    ],
)
def test_days_that_mean_nothing_are_one_line(flags: list[str], message: str) -> None:
    parser = argparse.ArgumentParser()
    sample_flags(parser)
    with pytest.raises(UserError, match=message) as caught:
        sample_of(parser.parse_args(flags))
    assert "\n" not in str(caught.value)


# --- a field of the name ---------------------------------------------------------------------


def test_the_origin_is_in_name_columns_words_json_and_difference() -> None:
    one = fold("2m", 43, 500)
    assert one.written(own_seed=42) == "2m.days500.from1996.seed43"
    assert str(one) == "2m seed 43 on 500 recent training days from 1996"
    assert one.columns()["origin"] == 1996
    there = dataclasses.replace(planted(named("2m")), name=one)
    here = dataclasses.replace(there, name=dataclasses.replace(one, origin=1998))
    assert there.difference(here) == [Difference("origin", 1996, 1998)]
    assert there.as_json()["name"]["origin"] == 1996
    assert there.fingerprint != here.fingerprint
    assert Run.of({"identity": json.loads(json.dumps(there.as_json()))}, "2m.json") == there


def test_a_run_without_an_origin_says_nothing_of_one_and_differs_from_a_fold() -> None:
    """Published predictions have no such column, and results from before keep their identity."""
    plain = planted(named("2m"))
    assert "origin" not in plain.name.columns()
    assert "origin" not in plain.as_json()["name"]
    assert "origin" in NAME
    of_a_fold = dataclasses.replace(plain, name=fold("2m"))
    assert plain.difference(of_a_fold) == [Difference("origin", "nothing", 1996)]


# --- what a run was made with ----------------------------------------------------------------


def test_a_run_survives_json_whole() -> None:
    asked = run_of(load_config(SHIPPED), load_model_config("2m"), "daily/threshold_1pct")
    again = Run.of({"identity": json.loads(json.dumps(asked.as_json()))}, "2m.json")
    assert again == asked and not again.difference(asked)
    assert again.fingerprint == asked.fingerprint


def test_everything_that_a_config_asks_of_a_training_is_in_its_run() -> None:
    config = load_config(SHIPPED)
    asked = run_of(config, load_model_config("2m"), "daily/threshold_1pct").values()
    for section, content in as_dict(config).items():
        for key, value in content.items() if isinstance(content, dict) else ():
            dotted = key if section == "days" else f"{section}.{key}"
            assert (dotted in asked) != (section in NOT_TRAINING)
            assert section in NOT_TRAINING or asked[dotted] == value
    assert asked["precision"] == config.precision
    assert asked["family"] == "patchtst"


def test_what_the_machine_decides_is_not_known_when_it_is_asked_for() -> None:
    config = dataclasses.replace(load_config(SHIPPED), precision="auto")
    asked = run_of(config, load_model_config("2m"), "x")
    assert (asked.device, asked.precision, asked.labels) == (None, None, None)
    found = dataclasses.replace(asked, device="cuda", precision="bf16", labels="ab12")
    assert not found.difference(asked)
    fixed = run_of(dataclasses.replace(config, precision="fp32"), load_model_config("2m"), "x")
    assert found.difference(fixed) == [Difference("precision", "bf16", "fp32")]


def test_keys_that_may_differ_are_named_alone_or_by_their_section() -> None:
    there = {"seed": 1, "optimiser.epochs": 5, "optimiser.batch_size": 32}
    here = {"seed": 2, "optimiser.epochs": 6, "optimiser.batch_size": 64}
    assert [d.key for d in difference(there, here)] == list(here)
    assert [d.key for d in difference(there, here, ("seed", "optimiser.epochs"))] == [
        "optimiser.batch_size"
    ]
    assert not difference(there, here, ("seed", "optimiser"))


def test_a_refusal_says_file_key_there_here_and_what_to_type() -> None:
    refuse("2m.ckpt", [])
    found = [Difference("optimiser.epochs", 5, 6), Difference("seed", 42, 43)]
    with pytest.raises(UserError) as caught:
        refuse("2m.ckpt", found)
    assert str(caught.value) == (
        "2m.ckpt: optimiser.epochs is 5, not 6; seed is 42, not 43; make it again: "
        "snakemake --force 2m.ckpt"
    )


@pytest.mark.parametrize("identity", [None, {}, {"experiment": "x"}, "older"])
def test_a_file_that_does_not_say_what_it_was_made_with_is_one_line(identity: Any) -> None:
    with pytest.raises(UserError, match="2m.json: does not say .*snakemake --force 2m.json"):
        Run.of({} if identity is None else {"identity": identity}, "2m.json")


# --- what is on disk, and what is asked for now ----------------------------------------------

CODE = {"code": "c0de", "law": {"delta": 0.01}}


def written(folder: Path, *runs: Run, **values: Any) -> Path:
    """An artefact of one run, or a law of several."""
    made = [run.as_json() for run in runs]
    of = {"identity": made[0]} if len(made) == 1 else {"runs": made}
    write_json(folder / "made.json", {**of, "made_by": CODE, **values})
    return folder / "made.json"


def test_an_artefact_of_what_is_asked_for_is_not_outdated(tmp_path: Path) -> None:
    one, two = planted(named("2m")), planted(named("200k", 43))
    assert outdated(written(tmp_path, one), [one], CODE) == ""
    assert outdated(written(tmp_path, one, two), [two, one], CODE) == ""
    other_machine = dataclasses.replace(one, versions={"torch": "1.0"})
    not_known_yet = dataclasses.replace(one, device=None, micro_batch=None, labels=None)
    assert outdated(written(tmp_path, other_machine), [not_known_yet], CODE) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code": "new"}, "code is c0de, not new"),
        ({"precision": "bf16"}, "precision is fp32, not bf16"),
        ({"prices": "d1"}, "prices is d0, not d1"),
        ({"model": {"d_model": 64}}, "model.d_model is 32, not 64"),
        ({"name": named("2m", 43)}, "seed is 42, not 43"),
        ({"name": named("2m", 42, 500)}, "train_days is all, not 500"),
    ],
)
def test_an_artefact_of_something_else_says_what_differs(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    one = planted(named("2m"))
    assert why in outdated(written(tmp_path, one), [dataclasses.replace(one, **change)], CODE)


def test_what_an_artefact_depends_on_besides_its_run_is_compared(tmp_path: Path) -> None:
    one = planted(named("2m"))
    path = written(tmp_path, one, made_by={"code": "old", "law": {"delta": 0.02}})
    assert outdated(path, [one], CODE) == "code is old, not c0de; law.delta is 0.02, not 0.01"


def test_a_law_of_other_runs_or_of_one_that_was_trained_otherwise_is_outdated(
    tmp_path: Path,
) -> None:
    one, two = planted(named("2m")), planted(named("200k", 43))
    path = written(tmp_path, one, two)
    assert outdated(path, [one], CODE) == "runs is 200k seed 43, not without it"
    more = planted(named("600k"))
    assert outdated(path, [one, two, more], CODE) == "runs is without it, not 600k seed 42"
    assert "code is c0de, not new" in outdated(
        path, [one, dataclasses.replace(two, code="new")], CODE
    )


def test_an_artefact_that_does_not_say_what_it_was_made_with_is_outdated(tmp_path: Path) -> None:
    path = written(tmp_path, planted(named("2m")), identity={})
    assert "does not say what it was made with" in outdated(path, [planted(named("2m"))], CODE)
