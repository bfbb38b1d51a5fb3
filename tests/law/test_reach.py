"""What would show an effect: each way reaches what it promises, and says where none does."""

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling import identities, plan
from scaling.config import load_config
from scaling.errors import UserError
from scaling.judging.summary import read_summary
from scaling.law.effects import Components, slope_weights
from scaling.law.reach import Way, ways_to_see
from scaling.law.result import StudyLaw, as_json, law_from
from scaling.names import experiment_path
from scaling.record import write_json
from scaling.run import RunName
from scaling.sizes import load_model_config
from scaling.training import cost

WALK = "daily/sp500_walk"
PARTS = Components(
    days=1e-7, seeds=8e-7, both=2e-7, day_degrees=700, seed_degrees=14, per_cell=2, by_fold=True
)
SECONDS = {"200k": 10.0, "2m": 60.0, "20m": 600.0}


@functools.cache
def published() -> StudyLaw:
    """The walk of 14 folds, as if of two sizes, with the runs that it was fitted to: two seeds."""
    content = json.loads(Path("docs/results/walk.json").read_text())["law"]
    ladder = content["ladder"]
    ladder["axes"]["parameters"]["points"] = ["200k", "2m"]
    ladder["cells"] = [cell for cell in ladder["cells"] if cell["budget"] in ("200k", "2m")]
    config = load_config(experiment_path(WALK))
    model = load_model_config("2m")
    made = identities.run_of(identities.of_fold(config, 1996), model, WALK)
    names = itertools.product(("200k", "2m"), content["test_days"]["origins"], (42, 43))
    content["runs"] = [
        replace(made, name=RunName(budget=budget, origin=origin, seed=seed)).as_json()
        for budget, origin, seed in names
    ]
    return law_from(content)


def law(parts: Components | None = PARTS, **slope: Any) -> StudyLaw:
    """The published law, its slope with these parts of the variance."""
    study = published()
    sizes = study.ladder.parameters
    sizes = replace(sizes, slope=replace(sizes.slope, components=parts, **slope))
    return replace(study, ladder=replace(study.ladder, axes={"parameters": sizes}))


def price(names: Sequence[RunName]) -> float:
    return sum(SECONDS[name.budget] for name in names)


def ways(effect: float, parts: Components = PARTS, spare: float = 100.0) -> dict[str, Way]:
    return ways_to_see(effect, law(parts), ["20m"], spare, price)


def seen(parts: Components, days: float = 1, seeds: float = 1) -> float:
    return float(parts.smallest_detectable(days, seeds))


def test_more_seeds_are_as_many_as_it_takes_and_each_is_paid_at_every_size_and_fold() -> None:
    way = ways(0.002)["more seeds"]
    count = int(way.does.split()[0])
    assert way.does == f"{count} instead of 2 of each size"
    assert seen(PARTS, seeds=count / 2) <= 0.002 < seen(PARTS, seeds=(count - 1) / 2)
    assert way.reaches == seen(PARTS, seeds=count / 2)
    assert way.seconds == pytest.approx((count - 2) * 14 * (10 + 60))


def test_a_size_with_fewer_seeds_needs_more_of_them_and_that_is_paid() -> None:
    parts = replace(PARTS, per_cell=1.4)
    study = law(parts)
    smaller, larger = study.ladder.cells
    less = replace(larger, seeds=[42])
    study = replace(study, ladder=replace(study.ladder, cells=[smaller, less]))
    way = ways_to_see(0.002, study, ["20m"], 100.0, price)["more seeds"]
    count = int(way.does.split()[0])
    assert way.does == f"{count} instead of 1 or 2 of each size"
    assert way.reaches == seen(parts, seeds=count / 1.4)
    assert way.seconds == pytest.approx(14 * 2 * (10 * (count / 2 - 1) + 60 * (count - 1)))


def test_more_days_of_a_walk_are_whole_folds_with_networks_of_their_own() -> None:
    way = ways(0.002)["more test days"]
    count = int(way.does.split()[0])
    assert f"{count} folds instead of 14, so prices of {2 * (count - 14)} more years" in way.does
    assert seen(PARTS, days=count / 14) <= 0.002 < seen(PARTS, days=(count - 1) / 14)
    assert way.seconds == pytest.approx((count - 14) * 2 * (10 + 60))


def test_years_that_no_registered_prices_hold_are_said_and_have_no_price() -> None:
    way = ways(0.002, spare=1.7)["more test days"]
    assert way.does.endswith("more years, 1 of which are registered")
    assert way.seconds is None and way.reaches is not None


def test_more_days_of_one_cut_of_the_years_train_nothing() -> None:
    plain = replace(PARTS, by_fold=False, seeds=1e-9, days=1e-6)
    way = ways(0.9 * seen(plain), plain)["more test days"]
    assert " days instead of 7,034" in way.does
    assert way.seconds == 0


def test_where_days_hide_the_effect_no_number_of_seeds_is_enough_and_what_they_leave_is_said() -> (
    None
):
    way = ways(0.002, replace(PARTS, days=3e-6))["more seeds"]
    left = seen(replace(PARTS, days=3e-6), seeds=1000)
    assert way == Way(f"no number is enough: days alone leave {left:.4f}")


def test_where_seeds_hide_the_effect_no_number_of_days_is_enough() -> None:
    plain = replace(PARTS, by_fold=False)
    way = ways(0.002, plain)["more test days"]
    assert way == Way(f"no number is enough: seeds alone leave {seen(plain, days=1000):.4f}")


def test_a_size_twice_as_far_away_halves_the_error_of_seeds_and_leaves_that_of_days() -> None:
    way = ways(0.003)["sizes further apart"]
    counted = [cell.parameters for cell in law().ladder.cells]
    less = (np.log10(counted[1] / counted[0]) / np.log10(2e7 / counted[0])) ** 2
    apart = replace(PARTS, seeds=PARTS.seeds * less, both=PARTS.both * less)
    assert 0.24 < less < 0.26
    assert way.does == "20m instead of 2m"
    assert way.reaches == pytest.approx(seen(apart))
    assert way.seconds == pytest.approx(14 * 2 * 600)


def test_a_size_further_away_counts_the_seeds_that_each_size_has() -> None:
    cells = read_summary(Path("docs/results/walk.json")).law.ladder.cells
    *smaller, largest = cells
    study = law()
    sizes = replace(study.ladder.parameters, points=[cell.budget for cell in cells])
    cells = [*smaller, replace(largest, seeds=[42])]
    study = replace(study, ladder=replace(study.ladder, cells=cells, axes={"parameters": sizes}))
    way = ways_to_see(0.1, study, ["200m"], 100.0, price)["sizes further apart"]
    counted = [cell.parameters for cell in cells]
    now, then = (
        (slope_weights(np.array([*counted[:-1], end])) ** 2 / [2, 2, 1]).sum()
        for end in (counted[-1], 2e8)
    )
    less = then / now
    assert way.does == "200m instead of 20m"
    assert way.reaches == pytest.approx(
        seen(replace(PARTS, seeds=PARTS.seeds * less, both=PARTS.both * less))
    )


def test_no_size_is_far_enough_away_where_a_day_favours_size() -> None:
    way = ways(0.003, replace(PARTS, days=3e-6))["sizes further apart"]
    assert way.does.startswith("no size is enough: 20m leaves 0.00")
    assert way.reaches is None


def test_a_law_that_does_not_know_the_spread_of_seeds_is_refused() -> None:
    for unknown in (law(seed_variance=None), law(parts=None)):
        with pytest.raises(UserError, match="does not know how far seeds spread"):
            ways_to_see(0.002, unknown, [], 0, price)


# --- the command -----------------------------------------------------------------------------


def planned(tmp_path: Path, effect: str) -> None:
    options = ["--results", str(tmp_path), "--device-flops", "160e9", "--to-see", effect]
    plan.main(["--grid", "configs/walk.yaml", *options])


def test_the_plan_names_the_cheapest_way_that_can_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cost, "epoch_windows", lambda config: (2500, 500))  # quick
    study = law()
    few = replace(study, runs=[study.runs[0], study.runs[-1]])  # of either size, so it is quick
    write_json(tmp_path / WALK / "scaling_law.json", as_json(few))
    planned(tmp_path, "0.002")
    head, days, seeds, sizes, cheapest = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{WALK}: sees 0.00") and head.endswith("; 0.002:")
    assert "1 of which are registered; sees" in days and "training" not in days
    assert "instead of 2 of each size; sees" in seeds and "of training" in seeds
    assert "instead of 2m" in sizes and "of training" in sizes
    assert cheapest == "  cheapest: more seeds"


def test_an_effect_that_the_study_sees_already_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / WALK / "scaling_law.json", as_json(law()))
    planned(tmp_path, "0.02")
    assert capsys.readouterr().out.endswith("nats a decade in four of five such studies already\n")


def test_without_a_law_the_plan_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"snakemake .*scaling_law.json --configfile configs/walk"):
        planned(tmp_path, "0.002")
    with pytest.raises(UserError, match="--to-see: got -1.0; allowed: above 0"):
        planned(tmp_path, "-1")
