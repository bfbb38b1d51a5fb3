"""Age as it was planted: in the slope, at each age, and in no world that has none."""

from collections.abc import Callable

import numpy as np
import pytest

from scaling.law.ageing import Ageing, ageing
from scaling.law.bootstrap import Settings
from tests.law.worlds import wandering

ORIGINS = range(2000, 2016, 2)
DAYS = 60  # of a block
BLOCKS = np.repeat(ORIGINS, DAYS)
YOUNGEST = 2
SETTINGS = Settings(horizon=1, delta_fraction=0.01, samples=200)


def walk(
    harm: Callable[[np.ndarray], np.ndarray] = lambda years: 0.0 * years,
    *,
    seeds: int = 3,
    network: float = 0.0,
    both: float = 0.0,
    noise: int = 0,
) -> Ageing:
    """Eight folds whose networks lose `harm` more nats when they are so many years older.

    A network's own luck, of deviation `network`, is with it on all blocks.
    """
    rng = np.random.default_rng(noise)
    common = 0.5 + 0.2 * wandering(rng, len(BLOCKS))
    losses, base = {}, {}
    for origin in ORIGINS:
        on = origin <= BLOCKS
        luck = network * rng.normal(size=(seeds, 1)) + both * rng.normal(size=(seeds, on.sum()))
        losses[origin] = common[on] + harm(BLOCKS[on] - origin) + luck
        base[origin] = common[on] + 0.1
    return ageing("2m", losses, base, BLOCKS, YOUNGEST, SETTINGS)


def test_networks_that_are_better_when_young_have_a_slope_of_so_much_a_year() -> None:
    found = walk(lambda years: 0.003 * years, both=0.02)
    assert found.slope.estimate == pytest.approx(0.003, abs=2e-4)
    assert found.slope.side == 1
    assert found.sentence.startswith(f"2m: each year of age adds {found.slope.estimate:+.5f}")
    assert found.sentence.endswith("networks get worse with age, so training again helps")


def test_networks_that_do_not_age_are_not_said_to() -> None:
    said = [walk(network=0.002, both=0.02, noise=number).slope.side for number in range(10)]
    assert said.count(0) >= 9
    found = walk(network=0.002, both=0.02)
    assert found.sentence.endswith("that age does harm is not shown")


def test_networks_that_are_better_when_old_are_said_to_be_so() -> None:
    assert walk(lambda years: -0.003 * years, both=0.02).sentence.endswith("better than young ones")


def test_the_difference_at_each_age_is_the_harm_of_that_age_and_no_other_days_are_in_it() -> None:
    found = walk(lambda years: 0.001 * years**2)
    assert [row.age for row in found.ages] == [YOUNGEST + 2 * fold for fold in range(1, 8)]
    for fold, row in enumerate(found.ages, start=1):
        assert row.difference.estimate == pytest.approx(0.001 * (2 * fold) ** 2)
        assert (row.blocks, row.days) == (8 - fold, (8 - fold) * DAYS)


def test_a_hard_year_is_no_age() -> None:
    """What is common to all networks on a day drops out, whatever it is."""
    found = walk(lambda years: 0.003 * years)
    assert found.slope.standard_error < 1e-9
    assert found.slope.estimate == pytest.approx(0.003)


def test_the_pairs_are_of_later_blocks_alone_and_skill_is_over_the_folds_own_base_rate() -> None:
    found = walk(lambda years: 0.01 * years)
    assert {(pair.origin, pair.block) for pair in found.pairs} == {
        (origin, block) for origin in ORIGINS for block in ORIGINS if block >= origin
    }
    for pair in found.pairs:
        worse = 0.01 * (pair.block - pair.origin)
        assert pair.difference == pytest.approx(worse)
        assert pair.days == DAYS
        base = pair.log_loss - worse + 0.1
        assert pair.skill == pytest.approx(1 - pair.log_loss / base)


def test_a_network_that_is_lucky_on_all_its_blocks_makes_the_slope_as_uncertain_as_it_is() -> None:
    """Where luck alone makes slopes differ, the error is their spread over many worlds."""
    found = [walk(network=0.01, noise=number).slope for number in range(40)]
    spread = np.std([slope.estimate for slope in found], ddof=1)
    said = np.sqrt(np.mean([slope.seed_variance or 0.0 for slope in found]))
    assert said == pytest.approx(spread, rel=0.3)


def test_one_seed_leaves_an_interval_over_days_alone_and_says_so() -> None:
    found = walk(lambda years: 0.003 * years, seeds=1, both=0.02)
    assert found.slope.seed_variance is None
    assert "over days)" in found.sentence
    assert "over days and seeds)" in walk(both=0.02).sentence
