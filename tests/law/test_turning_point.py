"""A turning point inside a ladder is found, located and said; a curve that flattens has none."""

import numpy as np
import pytest

from tests.law.worlds import FIVE, TIGHT, fitted, world

SIX = np.geomspace(2e5, 2e8, 6)


def bent(bend, slope=0.0, parameters=FIVE, number=1, **noise):
    noise = TIGHT | noise
    losses = world(number, slope, bend=bend, parameters=parameters, **noise)
    return fitted(losses, parameters)


def test_an_optimum_inside_the_ladder_is_found_located_and_said():
    result = bent(0.02)
    middle = 10 ** np.log10(FIVE).mean()
    found = result.parameters.turning_point
    assert (found.kind, found.p_value < 0.001) == ("lowest", True)
    assert found.at == pytest.approx(middle, rel=0.15)
    assert "in size, lowest near 4,000,000 parameters, inside the range" in result.sentence
    assert any("lowest near 4,000,000 parameters" in warning for warning in result.warnings)
    assert result.shapes.preferred == "quadratic_log"


def test_a_loss_that_is_highest_inside_the_ladder_is_found_too():
    result = bent(-0.02)
    assert result.parameters.turning_point.kind == "highest"
    assert "in size, highest near" in result.sentence


def test_three_sizes_are_enough_to_find_an_optimum():
    result = bent(0.1, parameters=FIVE[:3])
    assert result.parameters.turning_point.kind == "lowest"


def test_a_slope_that_would_improve_is_no_finding_over_an_optimum():
    result = bent(0.02, slope=-0.02)
    assert result.parameters.slope.interval95[1] < 0
    assert result.parameters.turning_point.kind == "lowest"
    assert result.parameters.verdict == "inconclusive"


def test_a_curve_that_flattens_has_no_optimum_although_a_quadratic_fitted_to_it_has_one():
    means = 0.6 + 40 * SIX**-0.5
    noise = world(2, parameters=SIX, day=0, seed=1e-5, both=1e-4)
    result = fitted([w - w.mean() + mean for w, mean in zip(noise, means, strict=True)], SIX)
    x = np.log10(SIX)
    curvature, slope, _ = np.polyfit(x, means, 2)
    assert x[0] < -slope / (2 * curvature) < x[-1]
    assert result.parameters.turning_point.kind is None
    assert result.parameters.verdict == "improves"


@pytest.mark.parametrize("mirrored", [1, -1], ids=["falls first", "rises first"])
def test_an_end_that_lies_no_higher_than_the_middle_makes_a_turning_point_improbable(mirrored):
    """Both ends must lie on the same side: the p-value is that of the end with less evidence."""
    noise = world(2, parameters=FIVE[:3], **TIGHT)
    means = [0.62, 0.60, 0.60][::mirrored]
    losses = [own - own.mean() + mean for own, mean in zip(noise, means, strict=True)]
    axis = fitted(losses, FIVE[:3]).parameters
    assert min(contrast.p_value for contrast in axis.contrasts) < 1e-6
    assert axis.turning_point.p_value > 0.5
    assert axis.turning_point.kind is None


def test_noise_that_hides_an_optimum_leaves_it_unsaid():
    result = bent(0.02, day=0.2, seed=0.1)
    assert result.parameters.turning_point.kind is None
    assert "inside the range" not in result.sentence


def test_two_sizes_have_no_inside():
    result = bent(0.0, parameters=FIVE[:2])
    assert result.parameters.turning_point.kind is None
    assert result.parameters.turning_point.p_value is None


def test_an_optimum_that_single_seeds_show_is_not_a_finding():
    losses = world(1, bend=0.05, parameters=FIVE, **TIGHT)
    result = fitted([loss[:1] for loss in losses], FIVE)
    assert result.parameters.turning_point.kind is None
