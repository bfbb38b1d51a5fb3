"""Several judged markets: days are resampled and not rows, and each day has one loss."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law.judge import fit_law, fit_study
from scaling.law.table import read_tables
from scaling.metrics import log_losses
from tests.law.worlds import SETTINGS, study, study_of_days


def twice(*frames: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """The same rows as those of two markets, ABC and XYZ."""
    return tuple(
        pd.concat([frame.assign(asset=name) for name in ("ABC", "XYZ")], ignore_index=True)
        for frame in frames
    )


def law_of(networks: pd.DataFrame, baselines: pd.DataFrame):
    return fit_law(read_tables(networks, baselines).ladder, SETTINGS)


def width(law) -> float:
    low, high = law.parameters.slope.interval95
    return high - low


def as_further_days(frames: tuple[pd.DataFrame, ...]) -> list[pd.DataFrame]:
    """The mistake: the rows of the second market count as days of their own."""
    found = []
    for frame in frames:
        second = frame["asset"] == "XYZ"
        later = frame["date"].where(~second, frame["date"] + pd.Timedelta(days=700))
        found.append(frame.assign(date=later).drop(columns="asset"))
    return found


def test_the_same_market_under_two_names_changes_no_number_of_the_law():
    frames = study_of_days()
    once, again = (fit_study(read_tables(*given), SETTINGS) for given in (frames, twice(*frames)))
    pairs = (once.ladder, again.ladder), (once.surfaces["recent"], again.surfaces["recent"])
    for one, other in pairs:
        assert replace(other, cells=[]) == replace(one, cells=[])
        # The mean over twice as many validation rows is rounded otherwise.
        for cell, same in zip(one.cells, other.cells, strict=True):
            assert replace(cell, validation_log_loss=0) == replace(same, validation_log_loss=0)


def test_rows_that_count_as_days_would_narrow_the_interval():
    frames = study(sizes={"200k": 200_000, "600k": 600_000})
    alone, mistaken = law_of(*frames), law_of(*as_further_days(twice(*frames)))
    assert width(mistaken) < 0.85 * width(alone)
    assert width(law_of(*twice(*frames))) == width(alone)


def two_markets() -> tuple[pd.DataFrame, pd.DataFrame]:
    """XYZ has other labels and forecasts than ABC, and is closed on the last test day."""
    networks, baselines = twice(*study())
    other = networks["asset"] == "XYZ"
    networks.loc[other, "p"] = 1 - 0.8 * networks.loc[other, "p"]
    for frame in (networks, baselines):
        frame.loc[frame["asset"] == "XYZ", "y"] = 1 - frame["y"]
    last = networks["date"].max()
    return tuple(f[(f["asset"] == "ABC") | (f["date"] < last)] for f in (networks, baselines))


def test_a_day_has_the_mean_loss_of_the_markets_that_were_open():
    networks, baselines = two_markets()
    ladder = read_tables(networks.sample(frac=1, random_state=1), baselines).ladder
    rows = networks[(networks["split"] == "test") & (networks["weights"] == "mean")]
    rows = rows[(rows["budget"] == "2m") & (rows["seed"] == 43)]
    losses = pd.Series(log_losses(rows["y"], rows["p"]), index=rows["date"])
    expected = losses.groupby(level=0).mean()
    assert ladder.dates.equals(pd.DatetimeIndex(expected.index))
    np.testing.assert_allclose(ladder.losses[2][1], expected)
    assert len(rows[rows["date"] == ladder.dates[-1]]) == 1
    shares = rows.groupby("date")["y"].mean()
    np.testing.assert_array_equal(ladder.y, shares)


def test_an_ensemble_averages_probabilities_of_one_market_before_losses_of_two():
    networks, baselines = two_markets()
    ladder = read_tables(networks, baselines).ladder
    rows = networks[(networks["split"] == "test") & (networks["weights"] == "mean")]
    rows = (
        rows[rows["budget"] == "200k"]
        .groupby(["date", "asset"])
        .agg(y=("y", "first"), p=("p", "mean"))
    )
    losses = pd.Series(log_losses(rows["y"], rows["p"]), index=rows.index.get_level_values("date"))
    np.testing.assert_allclose(ladder.ensembles[0][0], losses.groupby(level=0).mean())
    law = law_of(networks, baselines)
    assert law.cells[0].ensemble.log_loss == pytest.approx(losses.groupby(level=0).mean().mean())


def test_the_base_rate_loses_on_a_day_what_it_loses_on_its_rows():
    networks, baselines = twice(*study())
    for frame in (networks, baselines):
        frame.loc[frame["asset"] == "XYZ", "y"] = 0
    rows = baselines[(baselines["model"] == "base_rate") & (baselines["split"] == "test")]
    losses = pd.Series(log_losses(rows["y"], rows["p"]), index=rows["date"])
    base = read_tables(networks, baselines).ladder.base
    np.testing.assert_allclose(base, losses.groupby(level=0).mean())
    assert len(np.unique(base.round(9))) == 2, "days on which one of the two rises, and the others"


def test_models_that_were_judged_on_different_markets_are_refused():
    networks, baselines = twice(*study())
    one = (
        (networks["budget"] == "2m") & (networks["asset"] == "XYZ") & (networks["split"] == "test")
    )
    with pytest.raises(
        UserError, match="2m seed 42 was judged on 260 test days and 200k .* on 520"
    ):
        read_tables(networks[~one], baselines)


def test_a_market_that_is_given_twice_under_one_name_is_refused():
    networks, baselines = twice(*study())
    with pytest.raises(UserError, match="has 20.* twice"):
        read_tables(networks.assign(asset="ABC"), baselines)
