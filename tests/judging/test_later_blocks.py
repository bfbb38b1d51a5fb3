"""Old networks meet later blocks as they were trained, and none meets a day that it has seen."""

import contextlib
import dataclasses
import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scaling import age, identities
from scaling.config import load_config
from scaling.data.dataset import load_study
from scaling.errors import UserError
from scaling.judging.evaluation import BLOCKS, load_trained
from scaling.judging.later_blocks import judge_later, refuse_look_ahead
from scaling.metrics import log_losses
from scaling.record import read_json
from scaling.training import checkpoint
from tests.conftest import MakeOnce
from tests.judging.test_folds import ORIGINS, PRICES, WALK, lay_out, write_walk
from tests.trained_study import CONFIG, evaluate_it, train_it

OLD, YOUNG = (f"results/daily/tiny/1k.from{origin}.ckpt" for origin in ORIGINS)
LAST = date(2004, 12, 31)


@pytest.fixture
def walk(make_once: MakeOnce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk of two folds with a trained network each, as working directory."""

    def make(root: Path) -> None:
        with contextlib.chdir(root):
            lay_out(PRICES)
            for path, origin in zip((OLD, YOUNG), ORIGINS, strict=True):
                train_it(path, "--origin", str(origin))

    monkeypatch.chdir(shutil.copytree(make_once("two-folds", make), tmp_path / "walk"))


def aged(*checkpoints: str) -> dict:
    age.main(["--config", str(CONFIG), "--checkpoints", *checkpoints, "--output", "a.json"])
    return dict(read_json("a.json"))


def test_on_its_own_block_a_network_forecasts_what_its_evaluation_says(walk: None) -> None:
    evaluate_it(OLD)
    rows = pd.read_parquet("results/1k.predictions.parquet")
    own = rows[(rows["split"] == "test") & (rows["weights"] == "mean")]
    config = identities.of_fold(load_config(CONFIG), ORIGINS[0])
    later = judge_later([load_trained(Path(OLD))], config, LAST)
    known = np.isin(later.dates, own["date"].to_numpy().astype("datetime64[D]"))
    assert known.sum() == len(own) > 200
    np.testing.assert_allclose(later.losses[0, known], log_losses(own["y"], own["p"]), atol=1e-5)


def test_on_a_later_block_it_has_the_normaliser_and_the_base_rate_of_its_own_years(
    walk: None,
) -> None:
    old, young = (identities.of_fold(load_config(CONFIG), origin) for origin in ORIGINS)
    later = judge_later([load_trained(Path(OLD))], old, LAST)
    theirs = load_study(young, ("train", *BLOCKS))
    rate = load_study(old).train_base_rate
    y = theirs.labels("test")
    on = np.isin(later.dates, theirs.dates[theirs.samples["test"]])
    np.testing.assert_allclose(later.base[on], log_losses(y, np.full(len(y), rate)))
    of_the_block = judge_later([load_trained(Path(YOUNG))], young, LAST)
    assert not np.allclose(of_the_block.base, later.base[-len(of_the_block.base) :])


def test_a_networks_age_is_counted_from_its_last_training_day(walk: None) -> None:
    made = aged(YOUNG, OLD)
    assert made["youngest"] == 1, "a year of validation lies between training and test"
    (row,) = made["ages"]
    assert (row["age"], row["blocks"]) == (2, 1)
    on_block = {(pair["origin"], pair["block"]): pair for pair in made["pairs"]}
    assert list(on_block) == [(2003, 2003), (2003, 2004), (2004, 2004)]
    old, young = on_block[2003, 2004], on_block[2004, 2004]
    assert young["difference"] == 0 == on_block[2003, 2003]["difference"]
    assert old["difference"] == pytest.approx(old["log_loss"] - young["log_loss"])
    assert row["difference"]["estimate"] == pytest.approx(old["difference"])
    assert made["slope"]["estimate"] == pytest.approx(old["difference"]), "a year is between them"
    assert [run["name"]["origin"] for run in made["runs"]] == [2003, 2004]


def test_the_weights_of_the_old_checkpoint_are_those_that_are_judged(walk: None) -> None:
    """A network without weights says one half every day, which has a known loss."""
    content = checkpoint.load(OLD)
    spoiled = {name: torch.zeros_like(part) for name, part in content["weights"].items()}
    checkpoint.save(OLD, {**content, "weights": spoiled})
    own, later, young = aged(OLD, YOUNG)["pairs"]
    assert own["log_loss"] == later["log_loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert young["log_loss"] != pytest.approx(np.log(2), abs=1e-3)
    assert later["difference"] == pytest.approx(np.log(2) - young["log_loss"], abs=1e-6)


def under_another_name(path: str) -> str:
    """A copy of a network whose record says that it is of the first fold."""
    content = checkpoint.load(path)
    record = checkpoint.record_of(content)
    run = load_trained(Path(path)).run
    name = dataclasses.replace(run.name, origin=ORIGINS[0])
    record["identity"] = dataclasses.replace(run, name=name).as_json()
    record["run"] = name.written(run.name.seed)
    checkpoint.save("planted.ckpt", {**content, "record": json.dumps(record)})
    return "planted.ckpt"


def test_a_network_that_has_seen_the_years_it_would_be_judged_on_is_refused(walk: None) -> None:
    planted = under_another_name(YOUNG)
    with pytest.raises(UserError, match="splits.train is .*2003.*, not .*2002"):
        aged(planted, YOUNG)
    run = load_trained(Path(YOUNG)).run
    refuse_look_ahead(run, date(2004, 1, 1))
    with pytest.raises(UserError, match="has seen the days up to 2003-12-31, so it cannot be judg"):
        refuse_look_ahead(run, date(2003, 12, 31))
    config = identities.of_fold(load_config(CONFIG), ORIGINS[0])
    with pytest.raises(UserError, match="has seen the days up to 2003-12-31"):
        judge_later([load_trained(Path(planted))], config, LAST)


def test_a_fold_that_is_missing_or_stands_twice_is_refused_by_its_name(walk: None) -> None:
    for given, named in ((OLD,), "from 2004"), ((OLD, YOUNG, YOUNG), "from 2004"):
        with pytest.raises(UserError, match=f"--checkpoints: 1k seed 1 {named}: missing, twice"):
            aged(*given)


def test_a_walk_of_one_fold_has_nothing_to_say_of_age(walk: None) -> None:
    write_walk(walk_forward={**WALK, "first_test": 2004})
    with pytest.raises(UserError, match="has 1 fold\\(s\\), and later blocks need two or more"):
        aged(YOUNG)
