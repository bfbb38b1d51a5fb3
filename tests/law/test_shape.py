"""Shapes are told apart only as far as the errors of the sizes allow."""

import numpy as np
import pytest

from scaling.law.power_law import power_law
from scaling.law.shape import compare_shapes, polynomial
from tests.law.worlds import FIVE


def correlated(error=1e-3, shared=1e-2, count=5):
    return np.eye(count) * error**2 + shared**2


def compared(loss, covariance, *, improves=True):
    sizes = FIVE[: len(loss)]
    law = power_law({"parameters": sizes}, loss, covariance, 40.0, improves=improves)
    return compare_shapes(sizes, loss, covariance, 40.0, law)


def test_shapes_are_told_apart_only_as_far_as_the_errors_allow():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    clear, hidden = (compared(trend, correlated(error)) for error in (1e-3, 0.1))
    assert (clear.preferred, hidden.preferred) == ("linear_log", "constant")
    assert clear.fitted["linear_log"].coefficients[1] == pytest.approx(-0.01)
    assert compared(0.5 + 3 * FIVE**-0.3, correlated()).preferred == "power_law"


def test_a_u_whose_line_is_flat_is_quadratic_and_not_constant():
    x = np.log10(FIVE) - np.log10(FIVE).mean()
    u = 0.5 + 0.01 * x**2
    flat = u - np.polyfit(x, u, 1)[0] * x
    result = compared(flat, correlated(), improves=False)
    assert result.fitted["linear_log"].p_against["constant"] > 0.05
    assert result.preferred == "quadratic_log"
    assert result.fitted["quadratic_log"].coefficients[2] == pytest.approx(0.01)


def test_two_sizes_have_no_quadratic():
    result = compared(np.array([0.5, 0.4]), np.eye(2) * 1e-6)
    assert list(result.fitted) == ["constant", "linear_log"]


def test_errors_that_all_sizes_share_are_not_taken_for_evidence_against_a_trend():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    assert compared(trend, correlated(shared=1.0)).preferred == "linear_log"


def test_a_constant_lies_among_the_losses_that_it_describes_however_they_err_together():
    """Peelle's puzzle: fitted to the levels, the best constant lies below all four of them."""
    loss = np.array([0.2716, 0.2741, 0.2790, 0.2878])
    spread = np.array([0.010, 0.011, 0.013, 0.016])
    covariance = 0.98 * np.outer(spread, spread) + np.diag(0.02 * spread**2)
    weights = np.linalg.solve(covariance, np.ones(4))
    assert weights @ loss / weights.sum() < loss.min()
    (constant,), chi2 = polynomial(np.log10(FIVE[:4]), loss, covariance, 1)
    assert constant == pytest.approx(loss.mean())
    shifted = polynomial(np.log10(FIVE[:4]), loss + 5, covariance, 1)[1]
    assert shifted == pytest.approx(chi2)
