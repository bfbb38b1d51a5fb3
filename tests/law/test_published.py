"""Published tables: a planted two-variable law comes back, and tables too small are refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling import fit
from scaling.errors import UserError
from scaling.law import published as laws
from scaling.law.published import fit_two_variable_law


def published(noise=0.003, runs=60):
    rng = np.random.default_rng(19)
    n, d = 10 ** rng.uniform(7.5, 10.2, runs), 10 ** rng.uniform(9, 11.5, runs)
    loss = (1.82 + 482 * n**-0.348 + 2085 * d**-0.366) * np.exp(rng.normal(0, noise, runs))
    return n, d, loss


def test_a_planted_two_variable_law_is_recovered_within_its_intervals():
    result = fit_two_variable_law(*published(), huber=1e-3, samples=40)
    for name, truth in {"E": 1.82, "alpha": 0.348, "beta": 0.366}.items():
        low, high = result["intervals95"][name]
        assert low < truth < high
        assert result[name] == pytest.approx(truth, rel=0.08)
    assert result["at_bound"] == []


def by_gradient_descent(table, start, huber=1e-3):
    """The same law by an optimiser that knows nothing of the fit's: L-BFGS on summed Huber loss."""
    n, d, loss = np.log(table)

    def objective(theta):
        a, b, e, alpha, beta = theta
        terms = np.stack([a - alpha * n, b - beta * d, e + 0 * n])
        total = np.logaddexp.reduce(terms)
        clipped = np.clip(total - loss, -huber, huber)
        shares = clipped * np.exp(terms - total)
        slopes = np.r_[shares.sum(axis=1), -shares[0] @ n, -shares[1] @ d]
        return (clipped * (total - loss - clipped / 2)).sum() / huber**2, slopes / huber**2

    options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12, "gtol": 1e-8}
    return minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x


@pytest.mark.parametrize(("noise", "runs"), [(0.003, 60), (0.01, 200)])
def test_the_fit_and_its_resamples_are_those_of_another_optimiser_one_at_a_time(noise, runs):
    table = np.stack(published(noise, runs))
    best, _ = laws.best_fit(table, huber=1e-3)
    assert by_gradient_descent(table, best) == pytest.approx(best, rel=1e-4)
    counts = laws._resamples(table, 30, np.random.default_rng(0))
    together, _ = laws.refit(table, counts, np.tile(best, (30, 1)), huber=1e-3)
    for theta, count in zip(together, counts, strict=True):
        drawn = np.repeat(table, count.astype(int), axis=1)
        assert theta == pytest.approx(by_gradient_descent(drawn, best), rel=0.01)


def test_a_diverged_run_moves_the_law_only_if_a_wide_threshold_makes_it_least_squares():
    n, d, loss = published()
    loss[0] *= 2
    robust = fit_two_variable_law(n, d, loss, huber=1e-3, samples=2)
    assert robust["alpha"] == pytest.approx(0.348, rel=0.08)
    square = fit_two_variable_law(n, d, loss, samples=2, huber=10.0)
    assert abs(square["alpha"] - 0.348) > 3 * abs(robust["alpha"] - 0.348)
    assert (robust["huber_threshold"], square["huber_threshold"]) == (1e-3, 10.0)


@pytest.mark.parametrize("huber", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_not_above_zero_is_refused(huber):
    with pytest.raises(UserError, match="--huber: got"):
        fit_two_variable_law(*published(), huber=huber)


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
        fit_two_variable_law(*change(*published()), huber=1e-3)


def test_the_command_refits_a_published_table(tmp_path, capsys):
    table, output = tmp_path / "runs.csv", tmp_path / "law.json"
    pd.DataFrame(dict(zip(("N", "D", "loss"), published(runs=30), strict=True))).to_csv(table)
    fit.main(["--table", str(table), "--huber", "0.01", "--output", str(output)])
    result = json.loads(output.read_text())
    assert result["alpha"] == pytest.approx(0.348, rel=0.15)
    assert result["huber_threshold"] == 0.01
    assert result["bootstrap_samples"] == 4000, "a hundred beyond each end of an interval"
    assert "alpha = 0.3" in capsys.readouterr().out


def test_a_table_without_its_columns_is_refused_by_name(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("params,tokens,loss\n1,2,3\n")
    with pytest.raises(UserError, match="no column N, D; found params, tokens, loss"):
        fit.main(["--table", str(table), "--output", str(tmp_path / "law.json")])
