"""How many days are trained on: which ones, and that nothing else changes with them."""

import dataclasses

import numpy as np
import pytest

from scaling.config import TaskConfig, TrainingConfig, load_config
from scaling.data.dataset import Study, load_study
from scaling.data.features import build_features
from scaling.data.prices import load_prices
from scaling.errors import UserError
from scaling.record import write_parquet
from scaling.run import Draw, TrainingDays
from scaling.training.step import sample_order

PRICES = "data/raw/SPY.parquet"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """The shipped study, its features built here."""
    features = tmp_path_factory.mktemp("features") / "SPY_features_a20.parquet"
    write_parquet(features, build_features(load_prices(PRICES)))
    shipped = load_config("configs/daily/threshold_1pct.yaml")
    return dataclasses.replace(shipped, data=dataclasses.replace(shipped.data, features=features))


@pytest.fixture(scope="module")
def whole(config: TrainingConfig) -> Study:
    return load_study(config)


def limited(config: TrainingConfig, days: int, draw: Draw = "recent", seed: int = 42) -> Study:
    return load_study(dataclasses.replace(config, days=TrainingDays(days, draw), seed=seed))


def test_the_most_recent_days_are_the_last_of_the_block(
    config: TrainingConfig, whole: Study
) -> None:
    days = limited(config, 1000).samples["train"]
    assert np.array_equal(days, whole.samples["train"][-1000:])


def test_blocks_are_whole_calendar_quarters_but_for_one_and_as_many_days(
    config: TrainingConfig, whole: Study
) -> None:
    days = limited(config, 1000, "blocks").samples["train"]
    assert len(days) == 1000 == len(set(days)) and (np.diff(days) > 0).all()
    quarter_of = whole.dates.astype("datetime64[M]").astype(int) // 3
    inside = {q: set(days[quarter_of[days] == q]) for q in set(quarter_of[days])}
    block = whole.samples["train"]
    cut = [q for q, found in inside.items() if found != set(block[quarter_of[block] == q])]
    assert len(cut) <= 1
    assert days[0] < block[len(block) // 2], "quarters are drawn from the whole block"


def test_the_seed_draws_the_quarters(config: TrainingConfig) -> None:
    one, again, other = (
        limited(config, 1000, "blocks", seed).samples["train"] for seed in (42, 42, 43)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_all_days_in_blocks_are_the_whole_block(config: TrainingConfig, whole: Study) -> None:
    block = whole.samples["train"]
    assert np.array_equal(limited(config, len(block), "blocks").samples["train"], block)


@pytest.mark.parametrize("draw", ["recent", "blocks"])
def test_fewer_days_change_neither_question_nor_reference_nor_validation(
    config: TrainingConfig, whole: Study, draw: str
) -> None:
    few = limited(config, 1000, draw)
    assert few.label_hash == whole.label_hash
    assert few.train_base_rate == whole.train_base_rate
    assert np.array_equal(few.samples["validation"], whole.samples["validation"])


def test_the_normaliser_is_of_the_chosen_days_alone(config: TrainingConfig) -> None:
    few = limited(config, 1000, "blocks")
    rows = few.raw_features[few.samples["train"]].astype(np.float64)
    np.testing.assert_allclose(few.normaliser.mean.numpy(), rows.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(few.normaliser.std.numpy(), rows.std(axis=0, ddof=1), rtol=1e-5)


def test_more_days_than_there_are_is_refused_with_their_number(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match="train_days: got 5000; allowed: up to 4001"):
        limited(config, 5000)


@pytest.mark.parametrize(
    ("threshold", "last", "message"),
    [
        (0.05, "validation", "splits.validation: .* samples, 0 of them positive"),
        (0.03, "test", "splits.test: .* samples, 5 of them positive"),
    ],
)
def test_a_question_without_an_answer_in_these_years_is_refused(
    config: TrainingConfig, threshold: float, last: str, message: str
) -> None:
    rare = dataclasses.replace(config, task=TaskConfig(threshold=threshold, horizon=1))
    blocks = ("train", "validation", "test")
    with pytest.raises(UserError, match=message):
        load_study(rare, blocks[: blocks.index(last) + 1])


def test_each_epoch_has_every_chosen_day_once_however_few_they_are() -> None:
    for epoch in sample_order(np.arange(100, 150), epochs=3, seed=7):
        assert sorted(epoch.tolist()) == list(range(100, 150))
