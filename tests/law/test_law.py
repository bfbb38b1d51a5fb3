"""The law of a study: what it holds, computed from all its networks on the same days."""

import json

import numpy as np
import pytest

from scaling.law.ladder import read_ladder
from scaling.law.one_axis import fit_law
from tests.law.worlds import BASE_RATE, FIVE, fitted, study, world


def test_delta_is_a_fraction_of_the_entropy_of_the_training_base_rate():
    result = fitted(world(np.random.default_rng(10)))
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7)
    assert result["delta"] == pytest.approx(0.01 * entropy)


def test_contrasts_are_paired_by_day_and_adjusted_over_all_pairs():
    result = fitted(world(np.random.default_rng(13), slope=-0.02))
    pairs = [(c["smaller"], c["larger"]) for c in result["contrasts"]]
    assert pairs == [("200000", "600000"), ("200000", "2e+06"), ("600000", "2e+06")]
    assert all(c["p_holm"] >= c["p_value"] for c in result["contrasts"])
    assert np.ptp(result["contrasts"][0]["interval95"]) < 0.1 * 1.0
    sizes = {size["budget"]: size["log_loss"] for size in result["sizes"]}
    first = result["contrasts"][0]
    assert first["difference"] == pytest.approx(sizes["600000"] - sizes["200000"])


def test_a_study_of_three_sizes_gets_no_exponent_however_steep():
    result = fitted(world(np.random.default_rng(17), slope=-0.05))
    assert result["verdict"] == "improves"
    assert result["models_compared"]["power_law"]["alpha"] is None


def test_networks_that_all_collapsed_to_the_base_rate_give_a_result_without_nan():
    networks, baselines = study(days=100)
    jitter = np.random.default_rng(4).normal(0, 1e-4, len(networks))
    found = read_ladder(networks.assign(p=BASE_RATE + jitter), baselines)
    result = fit_law(found, horizon=1, delta=0.01, samples=200)
    json.dumps(result, allow_nan=False)
    assert result["verdict"] == "equivalent to no effect"
    assert result["sizes"][0]["skill"] == pytest.approx(0, abs=1e-3)


# What a size with one seed must not be able to change.
OVER_REPLICATES = (
    *("verdict", "slope", "slope_over", "contrasts", "turning_point", "models_compared"),
    *("smallest_detectable_effect", "days_needed", "seeds_needed", "block_length"),
)


@pytest.mark.parametrize("place", [0, 2, 4], ids=["smallest", "middle", "largest"])
@pytest.mark.parametrize("extreme", [-0.5, 0.5], ids=["far better", "far worse"])
@pytest.mark.parametrize("slope", [-0.02, 0.0, 0.02])
def test_a_size_with_one_seed_cannot_change_the_verdict_however_extreme(place, extreme, slope):
    losses = world(np.random.default_rng(21), slope=slope, parameters=FIVE)
    losses[place] = losses[place][:1] + extreme
    others = [index for index in range(5) if index != place]
    with_it = fitted(losses, FIVE)
    without = fitted([losses[index] for index in others], FIVE[others])
    assert {key: with_it[key] for key in OVER_REPLICATES} == {
        key: without[key] for key in OVER_REPLICATES
    }
    assert with_it["verdict"] != "inconclusive" or slope == 0
    assert [len(size["seeds"]) for size in with_it["sizes"]][place] == 1
    low, high = with_it["sizes"][place]["skill_interval"]
    assert low < with_it["sizes"][place]["skill"] < high
