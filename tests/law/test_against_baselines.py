"""The best network is chosen on validation and compared with each baseline by day."""

import numpy as np
import pytest

from scaling.law.baselines import CLAIM, CLAIM_OF_ONE_SEED
from tests.law.worlds import fitted, wandering, world


def against(losses, baselines, validation, **options):
    baselines = {name: [loss] for name, loss in baselines.items()}
    return fitted(losses, baselines=baselines, validation=validation, **options)


def test_the_best_network_is_the_one_validation_prefers_even_if_test_does_not():
    losses = world(14, slope=-0.05)
    result = fitted(losses, validation=[0.1, 0.2, 0.3])
    assert result.best_network.budget == "200000"


def test_the_best_network_beats_a_worse_baseline_and_is_not_told_from_an_equal_one():
    losses = world(15)
    network = losses[0].mean(axis=0)
    wobble = np.random.default_rng(16).normal(0, 0.05, network.size)
    baselines = {"worse": network + 0.1, "equal": network + wobble, "better": network - 0.1}
    result = against(losses, baselines, [0.1, 0.2, 0.3])
    found = {name: row.verdict for name, row in result.best_network.against.items()}
    assert found == {
        "worse": "beats it",
        "equal": "cannot be told apart",
        "better": "loses to it",
    }
    assert "beats worse, loses to better, cannot be told apart from equal" in result.sentence


def close_race(gap, count=4, **options):
    """A network that beats the first of `count` baselines by `gap`; its law and that row."""
    losses = [loss[:, :400] for loss in world(15, day=0, seed=1e-5)]
    network = losses[0].mean(axis=0)
    rng = np.random.default_rng(16)
    wobbles = rng.normal(0, 0.2, (count, network.size))
    wobbles = 0.2 * (wobbles - wobbles.mean(axis=1, keepdims=True)) / wobbles.std()
    wobbles[0] += gap
    baselines = {f"rival_{i}": network + wobble for i, wobble in enumerate(wobbles)}
    result = against(losses, baselines, [0.1, 0.2, 0.3], **options)
    return result, result.best_network.against["rival_0"]


def test_a_baseline_is_not_beaten_by_a_p_value_that_holm_raises_above_five_percent():
    result, row = close_race(gap=0.0225)
    assert row.interval95[1] < 0 and row.p_value < 0.05 < row.p_holm
    assert row.verdict == "cannot be told apart"
    assert "beats rival" not in result.sentence
    alone, same = close_race(gap=0.0225, count=1)
    assert same.verdict == "beats it", "one comparison alone would be a finding"
    assert "beats rival 0" in alone.sentence


def test_the_experiments_of_a_grid_count_as_comparisons_too():
    _, alone = close_race(gap=0.0335)
    result, among = close_race(gap=0.0335, experiments=30)
    assert alone.verdict == "beats it"
    assert among.verdict == "cannot be told apart"
    assert among.p_value == alone.p_value
    assert "beats rival" not in result.sentence
    assert result.best_network.comparisons == 120


def test_a_network_with_one_seed_is_compared_over_the_days_and_the_claim_is_marked():
    losses = world(15, slope=-0.05)
    losses[2] = losses[2][:1]
    baselines = {"worse": losses[2][0] + 0.1, "better": losses[2][0] - 0.1}
    result = against(losses, baselines, [0.3, 0.2, 0.1])
    network = result.best_network
    assert (network.budget, network.seeds) == ("2e+06", 1)
    assert network.claim == CLAIM_OF_ONE_SEED
    assert [row.verdict for row in network.against.values()] == ["beats it", "loses to it"]
    said = "(2e+06, one seed, so on these days alone) beats worse, loses to better"
    assert said in result.sentence
    several = fitted(world(15))
    assert several.best_network.claim == CLAIM
    assert "one seed" not in several.sentence


@pytest.mark.slow
def test_of_a_network_with_one_seed_that_equals_a_baseline_no_difference_is_invented():
    claimed, chance = [], np.random.default_rng(5)
    for number in range(200):
        losses = [loss[:1] for loss in world(4000 + number, days=400)]
        equal = losses[2][0] + 0.05 * wandering(chance, 400)
        result = against(losses, {"equal": equal}, [0.3, 0.2, 0.1])
        claimed.append(result.best_network.against["equal"].verdict)
    assert np.mean([word != "cannot be told apart" for word in claimed]) <= 0.08
