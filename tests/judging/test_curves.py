"""Curves: planted shapes and exponents come back, and what the sizes cannot tell is not told."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling import fit
from scaling.errors import UserError
from scaling.judging import curves

FIVE = np.array([2e5, 6e5, 2e6, 2e7, 2e8])


# --- the shape of the curve


def test_three_sizes_never_yield_an_alpha_not_even_from_a_perfect_power_law():
    for count in (3, 4):
        sizes = FIVE[:count]
        loss = 0.5 + 3 * sizes**-0.3
        result = curves.power_law(sizes, loss, np.eye(count) * 1e-12, 100.0, improves=True)
        assert result["alpha"] is None
        assert result["status"] == "not identified"
        assert f"{count} sizes" in result["reason"]


def correlated(error=1e-3, shared=1e-2, count=5):
    return np.eye(count) * error**2 + shared**2


def test_a_planted_power_law_of_five_sizes_is_recovered_within_its_profile_interval():
    noise = np.random.default_rng(18).multivariate_normal(np.zeros(5), correlated())
    result = curves.power_law(FIVE, 0.5 + 3 * FIVE**-0.3 + noise, correlated(), 40.0, improves=True)
    low, high = result["alpha_interval95"]
    assert result["status"] == "identified"
    assert low < 0.3 < high
    assert result["alpha_huber"] == pytest.approx(result["alpha"], abs=0.05)
    exact = curves.fit_power_law(FIVE, 0.5 + 3 * FIVE**-0.3, correlated())
    assert [exact["alpha"], exact["E"], exact["A"]] == pytest.approx([0.3, 0.5, 3.0], rel=1e-3)


def test_a_straight_line_in_log_n_has_no_exponent_and_says_which_bound_it_met():
    loss = 0.5 - 0.003 * np.log10(FIVE)
    result = curves.power_law(FIVE, loss, correlated(), 40.0, improves=True)
    assert result["alpha"] is None
    assert "bound (alpha" in result["reason"]


def test_without_a_slope_below_zero_there_is_no_exponent():
    result = curves.power_law(FIVE, 0.5 + 3 * FIVE**-0.3, correlated(), 40.0, improves=False)
    assert result["alpha"] is None
    assert "slope" in result["reason"]


def test_an_exponent_that_cannot_foretell_the_top_rung_is_not_identified():
    loss = 0.5 + 3 * FIVE**-0.3
    loss[-1] = loss[-2]
    result = curves.power_law(FIVE, loss, correlated(3e-3), 40.0, improves=True)
    assert result["alpha"] is None
    assert "carry-forward" in result["reason"]


def test_shapes_are_told_apart_only_as_far_as_the_errors_allow():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    clear = curves.compare_shapes(FIVE, trend, correlated(), 40.0, True)
    hidden = curves.compare_shapes(FIVE, trend, correlated(error=0.1), 40.0, True)
    assert (clear["preferred"], hidden["preferred"]) == ("linear_log", "constant")
    assert clear["linear_log"]["slope"] == pytest.approx(-0.01)
    curved = curves.compare_shapes(FIVE, 0.5 + 3 * FIVE**-0.3, correlated(), 40.0, True)
    assert curved["preferred"] == "power_law"


def test_errors_that_all_sizes_share_are_not_taken_for_evidence_against_a_trend():
    trend = 0.5 - 0.01 * np.log10(FIVE)
    result = curves.compare_shapes(FIVE, trend, correlated(shared=1.0), 40.0, True)
    assert result["preferred"] == "linear_log"


# --- published tables


def published(noise=0.003, runs=60):
    rng = np.random.default_rng(19)
    n, d = 10 ** rng.uniform(7.5, 10.2, runs), 10 ** rng.uniform(9, 11.5, runs)
    loss = (1.82 + 482 * n**-0.348 + 2085 * d**-0.366) * np.exp(rng.normal(0, noise, runs))
    return n, d, loss


def test_a_planted_two_variable_law_is_recovered_within_its_intervals():
    result = curves.fit_two_variable_law(*published(), samples=40)
    for name, truth in {"E": 1.82, "alpha": 0.348, "beta": 0.366}.items():
        low, high = result["intervals95"][name]
        assert low < truth < high
        assert result[name] == pytest.approx(truth, rel=0.08)
    assert result["at_bound"] == []


def test_one_diverged_run_does_not_move_the_two_variable_law():
    n, d, loss = published()
    loss[0] *= 2
    result = curves.fit_two_variable_law(n, d, loss, samples=2)
    assert result["alpha"] == pytest.approx(0.348, rel=0.08)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d, loss: (n, np.full_like(d, 1e9), loss), "1 of D"),
        (lambda n, d, loss: (n[:6], d[:6], loss[:6]), "6 runs"),
        (lambda n, d, loss: (n, d, np.where(n == n[0], np.nan, loss)), "positive"),
    ],
    ids=["one D", "six runs", "a missing loss"],
)
def test_a_table_that_cannot_hold_five_unknowns_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        curves.fit_two_variable_law(*change(*published()))


@pytest.mark.slow
def test_the_command_refits_a_published_table(tmp_path, capsys):
    table, output = tmp_path / "runs.csv", tmp_path / "law.json"
    pd.DataFrame(dict(zip(("N", "D", "loss"), published(runs=30), strict=True))).to_csv(table)
    fit.main(["--table", str(table), "--output", str(output)])
    assert json.loads(output.read_text())["alpha"] == pytest.approx(0.348, rel=0.15)
    assert "alpha = 0.3" in capsys.readouterr().out


def test_a_table_without_its_columns_is_refused_by_name(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("params,tokens,loss\n1,2,3\n")
    with pytest.raises(UserError, match="no column N, D; found params, tokens, loss"):
        fit.main(["--table", str(table), "--output", str(tmp_path / "law.json")])
