"""How many markets are trained on: which ones, and that nothing else changes with them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from scaling.config import TrainingConfig
from scaling.data.dataset import Study, load_study, training_markets
from scaling.errors import UserError
from scaling.identities import of_markets
from scaling.run import RunName
from tests.conftest import random_prices
from tests.data.test_markets import add_market, asked

NAMES = ("ABC", "DEF", "GHI", "XYZ")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    """Four markets of random prices, all of them judged."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        add_market(name, random_prices(1500, seed=seed))
    return asked(NAMES, NAMES)


def trained_on(config: TrainingConfig, markets: int | None, seed: int = 42) -> Study:
    return load_study(dataclasses.replace(of_markets(config, markets), seed=seed))


def test_only_samples_of_the_drawn_markets_are_trained_on_and_all_markets_are_judged(
    config: TrainingConfig,
) -> None:
    whole, two = trained_on(config, None), trained_on(config, 2)
    assert len(two.trained) == 2 == two.counted["counted_markets"]
    assert np.array_equal(two.samples["train"], np.sort(whole.of(two.trained).samples["train"]))
    assert np.array_equal(two.samples["validation"], whole.samples["validation"])


def test_question_and_base_rate_are_those_of_all_markets(config: TrainingConfig) -> None:
    whole, one = trained_on(config, None), trained_on(config, 1)
    assert one.label_hash == whole.label_hash
    assert one.train_base_rate == whole.train_base_rate


def test_the_normaliser_is_fitted_to_the_markets_that_are_trained_on(
    config: TrainingConfig,
) -> None:
    one = trained_on(config, 1)
    seen = one.raw_features[one.samples["train"]].astype(float)
    assert np.allclose(one.normaliser.mean.numpy(), seen.mean(axis=0), atol=1e-5)


def test_the_draws_of_one_seed_are_nested_and_another_seed_draws_others(
    config: TrainingConfig,
) -> None:
    def drawn(number: int, seed: int) -> tuple[str, ...]:
        return training_markets(dataclasses.replace(config, markets=number, seed=seed))

    for seed in range(8):
        assert drawn(3, seed)[:2] == drawn(2, seed) and drawn(2, seed)[:1] == drawn(1, seed)
    assert {drawn(1, seed)[0] for seed in range(40)} == set(NAMES)


@pytest.mark.parametrize("number", [0, 4, 5])
def test_all_markets_have_one_name_and_none_has_no_run(config: TrainingConfig, number: int) -> None:
    with pytest.raises(UserError, match="allowed for this experiment: 1 to 3, or all by none"):
        of_markets(config, number)


def test_where_a_market_is_not_judged_no_markets_are_drawn(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match="got 2, but XYZ is not judged"):
        of_markets(dataclasses.replace(config, data=asked(NAMES, NAMES[:3]).data), 2)


def test_the_number_of_markets_stands_in_the_name_of_a_run() -> None:
    run = RunName(budget="2m", markets=4, seed=43)
    assert run.written(own_seed=42) == "2m.markets4.seed43"
    assert RunName.read("2m.markets4.seed43", own_seed=42) == run
    assert run.columns()["markets"] == 4 and not run.whole
