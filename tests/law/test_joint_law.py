"""The joint law is given where the runs identify it, and nowhere else."""

import numpy as np
import pytest

from scaling.law.joint_law import joint_law
from tests.law.worlds import DAYS, FIVE, surface_law, surface_world

SIZES = np.geomspace(2e5, 2e8, 5)
LENGTHS = np.geomspace(500, 16000, 5)


def planted(alpha=0.3, beta=0.4, sizes=SIZES, lengths=LENGTHS, floor=0.3, scale=0.1):
    n, d = np.meshgrid(sizes / 2e5, lengths / 500, indexing="ij")
    return floor + scale * n**-alpha + scale * d**-beta


def fitted(loss, sizes=SIZES, lengths=LENGTHS, error=3e-4, improves=True, noise=1):
    noise = np.random.default_rng(noise).normal(0, error, loss.shape)
    covariance = np.eye(loss.size) * error**2 + 1e-4
    return joint_law(sizes, lengths, loss + noise, covariance, freedom=20.0, improves=improves)


def test_planted_exponents_come_back_within_their_profile_intervals():
    inside = []
    for number in range(20):
        result = fitted(planted(), noise=number)
        assert result["status"] == "identified"
        (a, b), (c, d) = result["alpha_interval95"], result["beta_interval95"]
        inside += [a < 0.3 < b, c < 0.4 < d]
    assert np.mean(inside) >= 0.85
    assert result["E"] == pytest.approx(0.3, abs=0.02)


def test_a_noise_that_all_cells_share_does_not_hide_the_law():
    assert fitted(planted() + 0.02)["alpha"] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("loss", "options", "reason"),
    [
        (planted(sizes=SIZES[:3]), {"sizes": SIZES[:3]}, "3 sizes and 5 numbers of days; 4"),
        (planted(lengths=LENGTHS[:2]), {"lengths": LENGTHS[:2]}, "5 sizes and 2 numbers of days"),
        (planted(), {"improves": False}, "does not fall along both axes"),
        (planted(alpha=0.0), {}, "alpha is open"),
        (planted(beta=0.0), {}, "beta is open"),
        (planted(), {"error": 0.1}, "is open"),
        (0.6 - 0.01 * np.log10(np.outer(SIZES, LENGTHS)), {}, "the fit lies at a bound (E)"),
    ],
    ids=["sizes", "days", "trend", "flat in N", "flat in D", "noise", "straight lines"],
)
def test_runs_that_do_not_identify_the_law_are_told_why(loss, options, reason):
    result = fitted(loss, **options)
    assert (result["status"], result["alpha"], result["beta"]) == ("not identified", None, None)
    assert reason in result["reason"]
    assert "budget" not in result


@pytest.mark.parametrize(("axis", "what"), [(0, "largest size"), (1, "most days")])
def test_a_law_that_cannot_foretell_the_end_of_an_axis_is_not_identified(axis, what):
    loss = planted()
    rows = np.moveaxis(loss, axis, 0)
    rows[-1] = rows[-2]
    result = fitted(loss, error=3e-3)
    assert result["status"] == "not identified"
    assert f"fitted without the {what} it predicts no better" in result["reason"]


def test_ten_times_the_compute_goes_where_the_law_gains_most():
    loss = planted()
    spend = fitted(loss)["budget"]
    factors = np.geomspace(1, 10, 1000)
    n, d = SIZES[-1] / 2e5 * factors, LENGTHS[-1] / 500 * 10 / factors
    best = factors[(0.1 * n**-0.3 + 0.1 * d**-0.4).argmin()]
    low, high = spend["parameters_factor_interval95"]
    assert low <= best <= high
    assert spend["parameters_factor"] * spend["days_factor"] == pytest.approx(10)
    alone = (spend["predicted_loss_all_days"], spend["predicted_loss_all_parameters"])
    assert spend["predicted_loss"] <= min(alone)


def test_an_axis_with_nothing_left_to_gain_gets_none_of_the_compute():
    spend = fitted(planted(alpha=1.8, beta=0.2))["budget"]
    assert spend["parameters_factor"] == 1
    assert spend["days_factor"] == 10


def test_a_surface_that_identifies_the_law_says_what_to_spend_on_and_a_small_one_why_not():
    def mean(x, z):
        return 0.1 * 10 ** (-0.3 * x) + 0.1 * 10 ** (-0.4 * z)

    def law(sizes, lengths):
        quiet = {"day": 1e-3, "seed": 3e-4, "both": 3e-3}
        rng = np.random.default_rng(1)
        return surface_law(
            surface_world(rng, mean=mean, parameters=sizes, train_days=lengths, **quiet)
        )

    large, small = law(SIZES, LENGTHS), law(FIVE[:3], DAYS)
    assert "ten times the compute of the largest run is best spent on" in large["sentence"]
    assert "ten times the compute" not in small["sentence"]
    assert small["joint_law"]["reason"].startswith("3 sizes")


def test_over_a_u_in_days_there_is_no_joint_law():
    result = surface_law(
        surface_world(
            np.random.default_rng(1),
            mean=lambda x, z: -0.05 * x - 0.05 * z + 0.3 * z**2,
            parameters=SIZES,
            train_days=LENGTHS,
        )
    )
    assert result["joint_law"]["reason"] == "the loss does not fall along both axes"
