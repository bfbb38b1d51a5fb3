"""The judged markets one by one, and how many independent ones they are worth."""

import numpy as np
import pandas as pd
import pytest

from scaling.law.judged_markets import Markets, markets_of
from scaling.metrics import log_loss

DAYS = 2000
NAMES = ["ABC", "UVW", "XYZ"]
BASE_RATE = 0.3


def rows(gains: np.ndarray, seed: int) -> pd.DataFrame:
    """Test rows of two sizes whose losses differ by `gains` [days, markets]; all labels are 1."""
    dates = pd.bdate_range("2010-01-04", periods=len(gains))
    index = pd.MultiIndex.from_product([dates, NAMES], names=["date", "asset"])
    days = index.to_frame(index=False).assign(split="test", weights="mean", seed=seed, y=1)
    small = days.assign(budget="200k", parameters=200_000, p=np.exp(-1))
    return pd.concat(
        [small, days.assign(budget="2m", parameters=2_000_000, p=np.exp(gains - 1).ravel())]
    )


def baselines(networks: pd.DataFrame) -> pd.DataFrame:
    days = networks.drop_duplicates(["date", "asset", "split"])[["date", "asset", "split", "y"]]
    return pd.concat(
        [days.assign(model="base_rate", p=BASE_RATE), days.assign(model="garch", p=0.4)]
    )


def measured(*networks: pd.DataFrame) -> Markets:
    joined = pd.concat(networks, ignore_index=True)
    found = markets_of(joined, baselines(joined))
    assert found
    return found


def noise(correlation: float, seed: int = 0) -> np.ndarray:
    """[days, markets], of which any two are so correlated."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(DAYS, 1)), rng.normal(size=(DAYS, len(NAMES)))
    return 0.1 * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


@pytest.mark.parametrize(("correlation", "worth"), [(0.0, 3.0), (0.5, 1.5), (1.0, 1.0)])
def test_markets_are_worth_their_number_over_the_design_effect(
    correlation: float, worth: float
) -> None:
    found = measured(rows(noise(correlation), seed=1))
    assert found.correlation == pytest.approx(correlation, abs=0.04)
    assert found.worth == pytest.approx(worth, abs=0.2)
    assert f"{len(NAMES)} markets are worth {found.worth:.1f}" in found.sentence()


def test_a_negative_correlation_makes_no_market_worth_more_than_one() -> None:
    found = Markets(dict.fromkeys(NAMES), correlation=-0.4)  # type: ignore[arg-type]
    assert found.worth == len(NAMES)


def test_what_a_seed_does_alone_is_averaged_before_markets_are_compared() -> None:
    own = noise(0.0, seed=1)
    shared = noise(1.0)
    found = measured(rows(shared + own, seed=1), rows(shared - own, seed=2))
    alone = measured(rows(shared + own, seed=1))
    assert found.correlation > 0.9 > 0.6 > alone.correlation


def test_a_level_that_a_market_always_has_is_no_correlation() -> None:
    found = measured(rows(noise(0.0) + np.array([-0.2, 0.0, 0.2]), seed=1))
    assert abs(found.correlation) < 0.04


def test_a_day_on_which_one_market_is_closed_counts_for_the_others() -> None:
    networks = rows(noise(0.5), seed=1)
    closed = (networks["asset"] == "XYZ") & (networks["date"] < "2012-01-01")
    found = measured(networks[~closed])
    assert found.correlation == pytest.approx(0.5, abs=0.05)
    assert found.rows["XYZ"].days < found.rows["ABC"].days == DAYS


def test_a_row_has_the_skill_of_each_seed_on_the_test_days_of_its_market_alone() -> None:
    networks = pd.concat([rows(noise(0.2, seed), seed) for seed in (1, 2)], ignore_index=True)
    rng = np.random.default_rng(0)
    labels = {key: int(rng.random() < 0.3) for key in networks.groupby(["date", "asset"]).groups}
    networks["y"] = [labels[key] for key in zip(networks["date"], networks["asset"], strict=True)]
    others = [networks.assign(weights="last", p=0.99), networks.assign(split="validation", p=0.01)]
    found = measured(networks, *others)
    for name, row in found.rows.items():
        own = networks[networks["asset"] == name]
        one = own[(own["budget"] == "2m") & (own["seed"] == 2)]
        assert (row.days, row.positives) == (DAYS, one["y"].sum())
        reference = log_loss(one["y"], np.full(DAYS, BASE_RATE))
        assert list(row.skill) == ["200k", "2m"] and len(row.skill["2m"]) == 2
        expected = 1 - log_loss(one["y"], one["p"]) / reference
        assert row.skill["2m"][1] == pytest.approx(expected)
        rival = 1 - log_loss(one["y"], np.full(DAYS, 0.4)) / reference
        assert row.baselines == {"garch": pytest.approx(rival)}


def test_a_study_that_judges_one_market_has_no_rows() -> None:
    networks = rows(noise(0.5), seed=1)
    one = networks[networks["asset"] == "ABC"]
    for study in (one, one.drop(columns="asset")):
        assert markets_of(study, baselines(networks)) is None
