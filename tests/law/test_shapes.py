"""Shapes: planted exponents come back, and what the sizes cannot tell is not told."""

import numpy as np
import pytest

from scaling.law import shapes
from tests.law.worlds import FIVE


def correlated(error=1e-3, shared=1e-2, count=5):
    return np.eye(count) * error**2 + shared**2


def test_three_sizes_never_yield_an_alpha_not_even_from_a_perfect_power_law():
    for count in (3, 4):
        sizes = FIVE[:count]
        loss = 0.5 + 3 * sizes**-0.3
        result = shapes.power_law(sizes, loss, np.eye(count) * 1e-12, 100.0, improves=True)
        assert result["alpha"] is None
        assert result["status"] == "not identified"
        assert f"{count} sizes" in result["reason"]


def test_a_planted_power_law_of_five_sizes_is_recovered_within_its_profile_interval():
    noise = np.random.default_rng(18).multivariate_normal(np.zeros(5), correlated())
    result = shapes.power_law(FIVE, 0.5 + 3 * FIVE**-0.3 + noise, correlated(), 40.0, improves=True)
    low, high = result["alpha_interval95"]
    assert result["status"] == "identified"
    assert low < 0.3 < high
    assert result["alpha_huber"] == pytest.approx(result["alpha"], abs=0.05)
    exact = shapes.fit_power_law(FIVE, 0.5 + 3 * FIVE**-0.3, correlated())
    assert [exact["alpha"], exact["E"], exact["A"]] == pytest.approx([0.3, 0.5, 3.0], rel=1e-3)


def test_a_straight_line_in_log_n_has_no_exponent_and_says_which_bound_it_met():
    loss = 0.5 - 0.003 * np.log10(FIVE)
    result = shapes.power_law(FIVE, loss, correlated(), 40.0, improves=True)
    assert result["alpha"] is None
    assert "bound (alpha" in result["reason"]


def test_without_a_slope_below_zero_there_is_no_exponent():
    result = shapes.power_law(FIVE, 0.5 + 3 * FIVE**-0.3, correlated(), 40.0, improves=False)
    assert result["alpha"] is None
    assert "slope" in result["reason"]


def test_an_exponent_that_cannot_foretell_the_top_rung_is_not_identified():
    loss = 0.5 + 3 * FIVE**-0.3
    loss[-1] = loss[-2]
    result = shapes.power_law(FIVE, loss, correlated(3e-3), 40.0, improves=True)
    assert result["alpha"] is None
    assert "carry-forward" in result["reason"]


def test_shapes_are_told_apart_only_as_far_as_the_errors_allow():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    clear = shapes.compare_shapes(FIVE, trend, correlated(), 40.0, True)
    hidden = shapes.compare_shapes(FIVE, trend, correlated(error=0.1), 40.0, True)
    assert (clear["preferred"], hidden["preferred"]) == ("linear_log", "constant")
    assert clear["linear_log"]["slope"] == pytest.approx(-0.01)
    curved = shapes.compare_shapes(FIVE, 0.5 + 3 * FIVE**-0.3, correlated(), 40.0, True)
    assert curved["preferred"] == "power_law"


def test_a_u_whose_line_is_flat_is_quadratic_and_not_constant():
    x = np.log10(FIVE) - np.log10(FIVE).mean()
    u = 0.5 + 0.01 * x**2
    flat = u - np.polyfit(x, u, 1)[0] * x
    result = shapes.compare_shapes(FIVE, flat, correlated(), 40.0, False)
    assert result["linear_log"]["p_against_constant"] > 0.05
    assert result["preferred"] == "quadratic_log"
    assert result["quadratic_log"]["curvature"] == pytest.approx(0.01)


def test_two_sizes_have_no_quadratic():
    result = shapes.compare_shapes(FIVE[:2], np.array([0.5, 0.4]), np.eye(2) * 1e-6, 40.0, True)
    assert "quadratic_log" not in result


def test_errors_that_all_sizes_share_are_not_taken_for_evidence_against_a_trend():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    result = shapes.compare_shapes(FIVE, trend, correlated(shared=1.0), 40.0, True)
    assert result["preferred"] == "linear_log"
