"""How many days are trained on: which ones, and that nothing else changes with them."""

import dataclasses

import numpy as np
import pytest

from scaling.config import TrainingConfig
from scaling.data.dataset import Study, load_study
from scaling.errors import UserError
from scaling.run import Draw, TrainingDays


@pytest.fixture(scope="module")
def whole(shipped: TrainingConfig) -> Study:
    return load_study(shipped)


def limited(shipped: TrainingConfig, days: int, draw: Draw = "recent", seed: int = 42) -> Study:
    return load_study(dataclasses.replace(shipped, days=TrainingDays(days, draw), seed=seed))


def test_the_most_recent_days_are_the_last_of_the_block(
    shipped: TrainingConfig, whole: Study
) -> None:
    days = limited(shipped, 1000).samples["train"]
    assert np.array_equal(days, whole.samples["train"][-1000:])


def test_blocks_are_whole_calendar_quarters_but_for_one_and_as_many_days(
    shipped: TrainingConfig, whole: Study
) -> None:
    days = limited(shipped, 1000, "blocks").samples["train"]
    assert len(days) == 1000 == len(set(days)) and (np.diff(days) > 0).all()
    quarter_of = whole.dates.astype("datetime64[M]").astype(int) // 3
    inside = {q: set(days[quarter_of[days] == q]) for q in set(quarter_of[days])}
    block = whole.samples["train"]
    cut = [q for q, found in inside.items() if found != set(block[quarter_of[block] == q])]
    assert len(cut) <= 1
    assert days[0] < block[len(block) // 2], "quarters are drawn from the whole block"


def test_the_seed_draws_the_quarters(shipped: TrainingConfig) -> None:
    one, again, other = (
        limited(shipped, 1000, "blocks", seed).samples["train"] for seed in (42, 42, 43)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_all_days_in_blocks_are_the_whole_block(shipped: TrainingConfig, whole: Study) -> None:
    block = whole.samples["train"]
    assert np.array_equal(limited(shipped, len(block), "blocks").samples["train"], block)


@pytest.mark.parametrize("draw", ["recent", "blocks"])
def test_fewer_days_change_neither_question_nor_reference_nor_validation(
    shipped: TrainingConfig, whole: Study, draw: str
) -> None:
    few = limited(shipped, 1000, draw)
    assert few.label_hash == whole.label_hash
    assert few.train_base_rate == whole.train_base_rate
    assert np.array_equal(few.samples["validation"], whole.samples["validation"])


def test_more_days_than_there_are_is_refused_with_their_number(shipped: TrainingConfig) -> None:
    with pytest.raises(UserError, match="train_days: got 5000; allowed: up to 4001"):
        limited(shipped, 5000)
