"""A difference of sizes that a recipe may make is no finding."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scaling.config import as_dict, load_config
from scaling.errors import UserError
from scaling.identities import run_of
from scaling.law.axis import bound_by_recipe
from scaling.law.judge import fit_law
from scaling.law.transfer import SizeRecipe, read_recipes
from scaling.sizes import load_model_config
from tests.law.worlds import FIVE, SETTINGS, fitted, table_of, world

CONFIG = "configs/daily/development_1pct.yaml"
RATES = (0.0005, 0.001, 0.002)
FALLS = world(7, slope=-0.02)


def recipes(lost=0.0, best=0.001, sizes=FIVE[:3]):
    ends = {"lowest_rate": 0.0005, "highest_rate": 0.002, "seeds": 4}
    return tuple(SizeRecipe(f"{n:g}", 0.001, best, lost=lost, **ends) for n in sizes)


def judged(losses, *found):
    return fit_law(table_of(losses, FIVE[:3]), replace(SETTINGS, recipes=found))


def test_an_improvement_that_a_size_s_own_rate_would_exceed_is_recipe_bound_and_says_so():
    plain = fitted(FALLS).parameters
    difference = abs(plain.contrasts[1].difference)
    assert (plain.contrasts[1].smaller, plain.contrasts[1].larger) == ("200000", "2e+06")
    small, large = (recipes(lost=factor * difference) for factor in (0.9, 1.1))
    assert judged(FALLS, *small).parameters.verdict == "improves"
    law = judged(FALLS, *large)
    assert law.parameters.verdict == "recipe-bound"
    assert law.sentence.startswith("Whether size or recipe makes the difference is not settled")
    assert "2e+06 would gain" in law.sentence
    assert law.power_law == replace(fitted(FALLS).power_law, advice=law.power_law.advice)


def test_a_size_whose_best_rate_is_the_last_that_was_tried_may_have_a_better_one():
    law = judged(FALLS, *recipes()[:2], *recipes(best=0.002)[2:])
    assert law.parameters.recipe == "the best rate of 2e+06, 0.002, is an end of those tried"


def test_a_size_that_was_tried_with_no_other_rate_is_named():
    law = judged(FALLS, *recipes()[:2])
    assert law.parameters.recipe == "2e+06 was tried with no other learning rate"


def test_an_equivalence_within_a_bound_that_a_rate_would_exceed_is_recipe_bound():
    flat = world(8, day=1e-3, seed=1e-4, both=1e-3)
    plain = fitted(flat).parameters
    assert plain.verdict == "equivalent to no effect"
    bound = min(contrast.equivalence_bound for contrast in plain.contrasts)
    assert judged(flat, *recipes(lost=0.9 * bound)).parameters.verdict == plain.verdict
    assert judged(flat, *recipes(lost=1.1 * bound)).parameters.verdict == "recipe-bound"


def test_what_is_inconclusive_anyway_stays_so_and_without_a_table_nothing_is_said():
    vague = fitted(world(8, day=0.1, seed=0.02)).parameters
    assert bound_by_recipe(vague, recipes(lost=1.0), 0.006) == vague
    improves = fitted(FALLS).parameters
    assert bound_by_recipe(improves, (), 0.006) == improves
    assert "what differs between sizes may be their recipe" in str(fitted(FALLS).warnings)
    assert "their recipe" not in str(judged(FALLS, *recipes()).warnings)


# --- the table -------------------------------------------------------------------------------


@pytest.fixture
def run():
    config = load_config(CONFIG, "200k")
    return run_of(config, load_model_config("200k", config.family), "daily/development_1pct")


@pytest.fixture
def table(tmp_path: Path):
    """Two seeds of three rates, of which 0.002 is best by 0.01."""
    settings = as_dict(load_config(CONFIG))
    rows = [
        {"budget": "200k", "rate": rate, "seed": seed, "log_loss": 0.36 - (rate == 0.002) / 100}
        for rate in RATES
        for seed in (1, 2)
    ]

    content = {"kind": "transfer", "settings": settings, "runs": rows, "last_day": "2009-12-31"}

    def write(**changes) -> Path:
        path = tmp_path / "transfer.json"
        path.write_text(json.dumps({**content, **changes}))
        return path

    return write


def test_a_table_tells_the_best_rate_of_a_size_and_what_it_would_gain(table, run):
    (size,) = read_recipes(table(), [run])
    assert size == SizeRecipe("200k", 0.001, 0.002, 0.0005, 0.002, 2, pytest.approx(0.01))
    assert not size.bracketed


def test_a_table_of_another_question_tells_nothing_and_a_warning_says_so(table, run, caplog):
    task = {"threshold": 0.02, "horizon": 1, "direction": "up"}
    settings = as_dict(load_config(CONFIG)) | {"task": task}
    assert read_recipes(table(settings=settings), [run]) == ()
    assert "tells nothing of 200k seed 42: task.threshold is 0.02, not 0.01" in caplog.text


@pytest.mark.parametrize("last", ["2010-01-01", "2013-12-31", "unknown"])
def test_a_table_of_days_that_the_study_is_tested_on_tells_nothing(last, table, run, caplog):
    fold = {
        **run.settings,
        "splits": {**run.settings["splits"], "test": ["1996-01-01", "1997-12-31"]},
    }
    assert read_recipes(table(last_day=last), [run]) == ()
    assert f"tests from 2010-01-01 on: its last day is {last}" in caplog.text
    assert read_recipes(table(), [run, replace(run, settings=fold)]) == ()


def test_a_table_without_the_study_s_own_rate_is_refused(table, run):
    other = {**run.settings, "optimiser": {**run.settings["optimiser"], "learning_rate": 0.003}}
    with pytest.raises(
        UserError, match="tried with .* 0.0005, 0.001, 0.002, and the study has 0.003"
    ):
        read_recipes(table(), [replace(run, settings=other)])


def test_a_file_that_is_no_table_is_refused(table, run):
    with pytest.raises(UserError, match="no table of rates; make one"):
        read_recipes(table(kind="fit"), [run])
