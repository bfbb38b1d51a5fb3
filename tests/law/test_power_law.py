"""The power law is given where the runs identify it, and nowhere else."""

import numpy as np
import pytest

from scaling.law.judge import fit_law
from scaling.law.power_law import power_law
from tests.law.worlds import DAYS, FIVE, SETTINGS, TIGHT, surface_world

SIZES = np.geomspace(2e5, 2e8, 5)
LENGTHS = np.geomspace(500, 16000, 5)


def of_sizes(loss, sizes=FIVE, *, error=1e-3, improves=True):
    covariance = np.eye(len(sizes)) * error**2 + 1e-4
    return power_law({"parameters": sizes}, loss, covariance, 40.0, improves=improves)


def planted(alpha=0.3, beta=0.4, sizes=SIZES, lengths=LENGTHS, floor=0.3, scale=0.1):
    n, d = np.meshgrid(sizes / 2e5, lengths / 500, indexing="ij")
    return floor + scale * n**-alpha + scale * d**-beta


def of_both(loss, sizes=SIZES, lengths=LENGTHS, error=3e-4, improves=True, noise=1):
    noise = np.random.default_rng(noise).normal(0, error, loss.shape)
    covariance = np.eye(loss.size) * error**2 + 1e-4
    axes = {"parameters": sizes, "train_days": lengths}
    return power_law(axes, (loss + noise).ravel(), covariance, 20.0, improves=improves)


# --- one axis


def test_a_planted_law_of_five_sizes_is_recovered_within_its_profile_interval():
    truth = 0.5 + 3 * FIVE**-0.3
    covariance = np.eye(5) * 1e-6 + 1e-4
    noise = np.random.default_rng(18).multivariate_normal(np.zeros(5), covariance)
    result = of_sizes(truth + noise)
    low, high = result.exponents["parameters"].interval95
    assert result.identified and low < 0.3 < high
    exact = of_sizes(truth)
    assert exact.exponents["parameters"].fitted == pytest.approx(0.3, rel=1e-2)
    assert exact.constants == pytest.approx({"E": 0.5, "A": 3.0}, rel=0.1)


FLAT_END = 0.5 + 3 * FIVE**-0.3
FLAT_END[-1] = FLAT_END[-2]


@pytest.mark.parametrize(
    ("loss", "options", "reason"),
    [
        (0.5 + 3 * FIVE[:3] ** -0.3, {"sizes": FIVE[:3], "error": 1e-6}, "3 sizes; 5 are needed"),
        (0.5 + 3 * FIVE[:4] ** -0.3, {"sizes": FIVE[:4], "error": 1e-6}, "4 sizes; 5 are needed"),
        (0.5 - 0.003 * np.log10(FIVE), {}, "bound (alpha"),
        (0.5 + 3 * FIVE**-0.3, {"improves": False}, "the loss does not fall with size"),
        (FLAT_END, {"error": 3e-3}, "without the largest size it predicts no better"),
    ],
    ids=["three sizes", "four sizes", "a straight line", "no trend", "no foresight"],
)
def test_sizes_that_do_not_identify_an_exponent_are_told_why(loss, options, reason):
    result = of_sizes(loss, **options)
    assert not result.identified
    assert reason in result.reason


# --- two axes


@pytest.mark.slow
def test_planted_exponents_come_back_within_their_profile_intervals():
    inside = []
    for number in range(20):
        result = of_both(planted(), noise=number)
        assert result.identified
        for axis, truth in (("parameters", 0.3), ("train_days", 0.4)):
            low, high = result.exponents[axis].interval95
            inside.append(low < truth < high)
    assert np.mean(inside) >= 0.85
    assert result.constants["E"] == pytest.approx(0.3, abs=0.02)


def test_what_all_cells_share_moves_the_floor_alone():
    low, high = of_both(planted()), of_both(planted() + 0.02)
    assert high.exponents == low.exponents
    assert high.constants["E"] - low.constants["E"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("loss", "options", "reason"),
    [
        (planted(sizes=SIZES[:3]), {"sizes": SIZES[:3]}, "3 sizes and 5 numbers of days; 4"),
        (planted(lengths=LENGTHS[:2]), {"lengths": LENGTHS[:2]}, "5 sizes and 2 numbers of days"),
        (planted(), {"improves": False}, "does not fall along both axes"),
        (planted(alpha=0.0), {}, "alpha is open"),
        (planted(beta=0.0), {}, "beta is open"),
        (planted(), {"error": 0.1}, "is open"),
        (
            0.6 - 0.01 * np.log10(np.outer(SIZES, LENGTHS)),
            {},
            "the fit lies at a bound (alpha, beta, E)",
        ),
    ],
    ids=["sizes", "days", "trend", "flat in N", "flat in D", "noise", "straight lines"],
)
def test_runs_that_do_not_identify_the_law_are_told_why(loss, options, reason):
    result = of_both(loss, **options)
    assert not result.identified
    assert reason in result.reason
    assert result.advice is None


@pytest.mark.parametrize(("axis", "what"), [(0, "largest size"), (1, "most days")])
def test_a_law_that_cannot_foretell_the_end_of_an_axis_is_not_identified(axis, what):
    loss = planted()
    rows = np.moveaxis(loss, axis, 0)
    rows[-1] = rows[-2]
    result = of_both(loss, error=3e-3)
    assert not result.identified
    assert f"fitted without the {what} it predicts no better" in result.reason


def test_ten_times_the_compute_goes_where_the_law_gains_most():
    advice = of_both(planted()).advice
    factors = np.geomspace(1, 10, 1000)
    n, d = SIZES[-1] / 2e5 * factors, LENGTHS[-1] / 500 * 10 / factors
    best = factors[(0.1 * n**-0.3 + 0.1 * d**-0.4).argmin()]
    low, high = advice.parameters_factor_interval95
    assert low <= best <= high
    assert advice.parameters_factor * advice.days_factor == pytest.approx(10)
    alone = (advice.predicted_loss_all_days, advice.predicted_loss_all_parameters)
    assert advice.predicted_loss <= min(alone)


def test_an_axis_with_nothing_left_to_gain_gets_none_of_the_compute():
    advice = of_both(planted(alpha=1.8, beta=0.2)).advice
    assert (advice.parameters_factor, advice.days_factor) == (1, 10)


def test_a_surface_that_identifies_the_law_says_what_to_spend_on_and_a_small_one_why_not():
    def mean(x, z):
        return 0.1 * 10 ** (-0.3 * x) + 0.1 * 10 ** (-0.4 * z)

    def law(sizes, lengths):
        world = surface_world(1, mean=mean, parameters=sizes, train_days=lengths, **TIGHT)
        return fit_law(world, SETTINGS)

    large, small = law(SIZES, LENGTHS), law(FIVE[:3], DAYS)
    assert "ten times the compute of the largest run is best spent on" in large.sentence
    assert "ten times the compute" not in small.sentence
    assert small.power_law.reason.startswith("3 sizes")
