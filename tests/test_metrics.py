"""Metrics: each number agrees with its definition, and none breaks on awkward rows."""

import json
import subprocess
import sys

import numpy as np
import pytest

from scaling import metrics


@pytest.fixture
def forecast():
    """Labels drawn from their own probabilities: a perfectly calibrated forecaster."""
    rng = np.random.default_rng(7)
    p = 1 / (1 + np.exp(-rng.normal(-1, 1, 3000)))
    return (rng.random(3000) < p).astype(np.int8), p


def test_log_loss_and_d2_agree_with_scikit_learn(forecast):
    from sklearn.metrics import d2_log_loss_score, log_loss

    assert metrics.log_loss(*forecast) == pytest.approx(log_loss(*forecast))
    assert metrics.d2_log_loss(*forecast) == pytest.approx(d2_log_loss_score(*forecast))


def test_a_certain_and_wrong_forecast_is_costly_but_finite():
    assert 30 < metrics.log_loss([1, 0], [0.0, 1.0]) < 40


def test_skill_is_zero_for_the_training_base_rate_even_when_the_test_prevalence_differs():
    y = np.array([0, 0, 0, 1])
    assert metrics.log_loss_skill(y, np.full(4, 0.4), base_rate=0.4) == 0
    assert metrics.d2_log_loss(y, np.full(4, 0.4)) < 0


def test_brier_parts_add_up_to_the_brier_score(forecast):
    y, p = forecast
    parts = metrics.brier_parts(y, p)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within_bin"]
    assert total == pytest.approx(metrics.brier(y, p))
    assert abs(parts["within_bin"]) < 0.05 * metrics.brier(y, p)


def test_shifting_every_probability_shows_in_reliability_and_not_in_resolution(forecast):
    y, p = forecast
    good, shifted = metrics.brier_parts(y, p), metrics.brier_parts(y, 0.7 * p + 0.3)
    assert shifted["resolution"] == pytest.approx(good["resolution"])
    assert shifted["reliability"] > 10 * good["reliability"]


def test_calibration_error_is_within_chance_for_the_true_probabilities_and_grows_when_shifted(
    forecast,
):
    y, p = forecast
    chance = 0.8 * np.sqrt(y.mean() * (1 - y.mean()) * metrics.BINS / y.size)
    assert metrics.expected_calibration_error(y, p) < 2 * chance
    assert metrics.expected_calibration_error(y, np.clip(p + 0.1, 0, 1)) > 0.08


def test_in_a_calibration_error_a_forecast_too_low_does_not_make_up_for_one_too_high():
    frequency = np.tile([0, 1], 1000)
    forecasts = np.repeat([0.3, 0.7], 1000)
    assert metrics.expected_calibration_error(frequency, forecasts) == pytest.approx(0.2)


def test_a_constant_forecast_falls_into_one_bin():
    table = metrics.reliability([0, 1, 1, 0], np.full(4, 0.3))
    assert (table.rows.tolist(), table.observed.tolist()) == ([4], [0.5])


def test_recalibration_undoes_doubled_logits_on_other_rows(forecast):
    y, p = forecast
    logits = np.log(p / (1 - p))
    bold = 1 / (1 + np.exp(-2 * logits - 0.5))
    fitted = metrics.fit_recalibration(y[:1500], bold[:1500])
    assert fitted.slope == pytest.approx(0.5, abs=0.07)
    raw, mended = (metrics.log_loss(y[1500:], q[1500:]) for q in (bold, fitted(bold)))
    assert mended < raw
    assert mended == pytest.approx(metrics.log_loss(y[1500:], p[1500:]), abs=0.01)


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 0, 0], [0.1, 0.2, 0.8, 0.9]),
        ([0, 1, 0, 1], [0.4, 0.4, 0.4, 0.4]),
        ([0, 1, 0, 1], [0.0, 1.0, 0.0, 1.0]),
    ],
    ids=["separable", "one class", "constant", "certain"],
)
def test_recalibration_is_finite_on_degenerate_validation_rows(y, p):
    fitted = metrics.fit_recalibration(y, p)
    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert ((fitted(p) > 0) & (fitted(p) < 1)).all()


def test_recalibration_shows_an_upside_down_model_as_a_negative_slope(forecast):
    y, p = forecast
    assert metrics.fit_recalibration(y, 1 - p).slope < -0.8


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_give_none_with_a_reason_and_never_nan_in_json(label):
    result = metrics.score(np.full(20, label), np.linspace(0.1, 0.9, 20), base_rate=0.3)
    json.dumps(result, allow_nan=False)
    assert result["auc"] is result["average_precision"] is result["d2_log_loss"] is None
    assert result["undefined"]["auc"] == f"all 20 labels are {label}"
    assert result["log_loss_skill"] is not None


def test_two_classes_leave_nothing_undefined(forecast):
    assert metrics.score(*forecast, base_rate=0.3)["undefined"] == {}


@pytest.mark.parametrize(
    ("y", "p"),
    [([], []), ([0, 2], [0.5, 0.5]), ([0, 1], [0.5, 1.7]), ([0, 1], [0.5, np.nan]), ([1], [[0.5]])],
    ids=["no rows", "a label of 2", "a logit", "NaN", "other shape"],
)
def test_rows_that_are_no_forecast_are_refused(y, p):
    with pytest.raises(ValueError, match="must"):
        metrics.score(np.array(y), np.array(p), base_rate=0.3)


def test_auc_is_blind_to_doubled_logits_and_log_loss_is_not(forecast):
    y, p = forecast
    bold = p**2 / (p**2 + (1 - p) ** 2)
    assert metrics.auc(y, bold) == pytest.approx(metrics.auc(y, p))
    assert metrics.log_loss(y, bold) > metrics.log_loss(y, p)


def test_importing_the_module_loads_neither_scikit_learn_nor_torch():
    code = "import sys, scaling.metrics; print({'sklearn', 'scipy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
