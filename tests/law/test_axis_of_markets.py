"""The axis of markets: the same law as over training days, with words and refusals of its own."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law.axis import judge_axis
from scaling.law.judge import fit_study
from scaling.law.result import StudyLaw
from scaling.law.table import read_tables
from tests.law.worlds import DELTA, FIVE, SETTINGS, study_of_days, surface_world

COUNTED = {"500": 1, "1000": 4, "all": 14}
Frames = tuple[pd.DataFrame, pd.DataFrame]


def over_days() -> Frames:
    """Quarters of 1, 4 and 14 days, which the seed draws too, and less noise on more."""
    networks, baselines = study_of_days(draws=("blocks",))
    return tuple(  # type: ignore[return-value]
        frame.assign(counted_days=frame["train_days"].astype(str).map(COUNTED))
        for frame in (networks, baselines)
    )


def over_markets() -> Frames:
    """The same rows as those of trainings on 1, 4 and all of 14 markets."""
    return tuple(  # type: ignore[return-value]
        frame.assign(
            train_days="all",
            counted_days=1000,
            markets=frame["counted_days"].where(frame["counted_days"] < 14),
            counted_markets=frame["counted_days"],
        )
        for frame in over_days()
    )


def law_of(frames: Frames) -> StudyLaw:
    return fit_study(read_tables(*frames), SETTINGS, "planted")


def test_every_number_is_that_of_the_same_losses_over_training_days() -> None:
    markets, days = law_of(over_markets()), law_of(over_days())
    assert list(markets.surfaces) == ["markets"] and list(days.surfaces) == ["blocks"]
    found, same = markets.surfaces["markets"], days.surfaces["blocks"]
    assert found.samples.slope == same.samples.slope
    assert found.parameters == dataclasses.replace(
        same.parameters,
        at_each=[
            dataclasses.replace(own, at=other.at)
            for own, other in zip(same.parameters.at_each, found.parameters.at_each, strict=True)
        ],
    )
    assert found.interaction == same.interaction
    assert [cell.log_loss for cell in found.cells] == [cell.log_loss for cell in same.cells]
    assert markets.ladder.cells == [
        dataclasses.replace(cell, counted_days=1000.0) for cell in days.ladder.cells
    ]


def test_the_sentence_is_about_markets() -> None:
    surface = law_of(over_markets()).surfaces["markets"]
    assert "more markets help" in surface.sentence
    assert "nats for ten times the markets" in surface.sentence
    assert "same number of passes over all days of random markets" in surface.sentence
    assert "training days" not in surface.sentence


def test_a_run_of_four_markets_that_was_trained_on_all_of_them_is_refused() -> None:
    networks, baselines = over_markets()
    wrong = networks["markets"] == 4
    networks["counted_markets"] = networks["counted_markets"].mask(wrong, 14)
    with pytest.raises(UserError, match="200k seed 42 on 4 markets: was trained on 14 of them"):
        read_tables(networks, baselines)


def test_a_run_of_four_markets_on_fewer_days_is_refused_and_not_placed_among_those_on_all() -> None:
    networks, baselines = over_markets()
    networks["train_days"] = networks["train_days"].mask(networks["markets"] == 4, "500")
    with pytest.raises(UserError, match="200k seed 42 on 4 markets and 500 training days: fewer"):
        read_tables(networks, baselines)


@pytest.mark.slow
def test_what_a_seed_draws_for_all_sizes_is_no_effect_of_how_many_markets_there_are() -> None:
    rng, claimed = np.random.default_rng(4), {False: 0, True: 0}
    for _ in range(60):
        table = surface_world(rng, parameters=FIVE[:2], train_days=np.array([1.0, 4.0, 14.0]))
        # What a set of a seed is worth is shared by both sizes; that of all markets is one.
        sets = 0.02 * rng.normal(size=(3, 2))
        shared = [np.c_[sets, np.zeros(3)][:, [i % 3]] for i in range(6)]
        losses = [own + worth for own, worth in zip(table.losses, shared, strict=True)]
        world = dataclasses.replace(table, losses=losses)
        for drawn in claimed:
            settings = dataclasses.replace(SETTINGS, drawn=drawn)
            axis = judge_axis(world, "train_days", settings, DELTA, replicated=True)
            claimed[drawn] += axis.slope.side != 0
    assert claimed[True] <= 4 < claimed[False]
