"""The law of a study: what it holds, computed from all its networks on the same days."""

import json

import numpy as np
import pytest

from scaling.law.ladder import read_ladder
from scaling.law.one_axis import fit_law
from tests.law.worlds import BASE_RATE, fitted, study, world


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
