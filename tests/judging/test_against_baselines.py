"""The best network is chosen on validation and compared with each baseline by day."""

import numpy as np

from tests.judging.worlds import fitted, world


def test_the_best_network_is_the_one_validation_prefers_even_if_test_does_not():
    losses = world(np.random.default_rng(14), slope=-0.05)
    result = fitted(losses, validation=[0.1, 0.2, 0.3])
    assert result["best_network"]["budget"] == "200000"


def test_the_best_network_beats_a_worse_baseline_and_is_not_told_from_an_equal_one():
    losses = world(np.random.default_rng(15))
    network = losses[0].mean(axis=0)
    wobble = np.random.default_rng(16).normal(0, 0.05, network.size)
    baselines = {"worse": network + 0.1, "equal": network + wobble, "better": network - 0.1}
    result = fitted(losses, validation=[0.1, 0.2, 0.3], baselines=baselines)
    found = {name: row["verdict"] for name, row in result["best_network"]["against"].items()}
    assert found == {
        "worse": "beats it",
        "equal": "cannot be told apart",
        "better": "loses to it",
    }
    assert "beats worse, loses to better, cannot be told apart from equal" in result["sentence"]
