"""The sentence and the warnings say what weakens a finding."""

from tests.law.worlds import fitted, world


def test_a_real_effect_smaller_than_delta_is_said_to_be_small():
    result = fitted(world(8, slope=-0.002, day=1e-3, seed=1e-4, both=1e-3))
    assert result.parameters.verdict == "improves"
    assert "less than the 0.0061 set in advance as mattering" in result.sentence
    assert "Bigger networks predict better (-0.002" in result.sentence


def test_a_size_with_one_seed_is_said_to_have_no_part_in_the_verdict():
    losses = world(9, slope=-0.05)
    result = fitted([losses[0], losses[1], losses[2][:1]])
    assert result.parameters.points == ["200000", "600000"]
    assert "one seed only for 2e+06" in result.warnings[0]
    assert "over the other sizes (200000, 600000)" in result.warnings[0]
    assert "a size with one seed has no part in this (2e+06)" in result.sentence


def test_fewer_than_two_sizes_with_several_seeds_are_inconclusive_and_that_is_said():
    losses = world(9, slope=-0.05)
    result = fitted([losses[0], losses[1][:1], losses[2][:1]])
    assert result.parameters.verdict == "inconclusive"
    assert result.parameters.points == ["200000", "600000", "2e+06"]
    assert "a verdict needs two sizes with several seeds" in result.warnings[0]
    assert "too few sizes have several, so the spread between seeds is unknown" in result.sentence
    assert "no part in this" not in result.sentence
    assert result.parameters.slope.seed_variance is None
    assert result.parameters.sensitivity.seeds_needed is None


def test_a_slope_among_models_worse_than_the_base_rate_is_not_sold_as_predictive_power():
    losses = [loss + 0.5 for loss in world(11, slope=-0.03)]
    result = fitted(losses)
    assert any("no size beats" in warning for warning in result.warnings)
    assert "no size beats the base rate" in result.sentence


def test_few_independent_blocks_are_said():
    result = fitted(world(12, days=120))
    assert any("12 independent blocks of 10" in warning for warning in result.warnings)


def test_a_finding_that_many_experiments_would_give_by_chance_is_said_to_be_one_of_them():
    losses = world(7, slope=-0.004)
    result = fitted(losses, experiments=50)
    assert result.parameters.verdict == "improves"
    assert any("one of 50 experiments of a grid" in warning for warning in result.warnings)
    assert not any("experiments" in warning for warning in fitted(losses).warnings)
