"""The baselines learn what can be learnt, see no test day, and are judged on the networks' days."""

import dataclasses

import numpy as np
import pytest
import torch

from scaling.config import TaskConfig
from scaling.data.dataset import Normaliser, Study, WindowDataset
from scaling.judging import baselines
from scaling.metrics import log_loss, log_loss_skill
from scaling.run import RunName

BLOCKS = {"train": (0, 800), "validation": (800, 1200), "test": (1200, 1600)}
NAMES = ["base_rate", "recent_rate", "garch", "har"]
NAMES += ["logistic_regression", "random_forest", "gradient_boosting"]
OF_FEATURES = NAMES[4:]
TASK = TaskConfig(threshold=0.01, horizon=1)


def planted(strength: float, seed: int = 0) -> Study:
    """A study in which the first of five features moves the log-odds by `strength`.

    Its closes are a random walk that has nothing to do with the labels.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1600, 5)).astype(np.float32)
    y = (rng.random(1600) < 1 / (1 + np.exp(1.5 - strength * x[:, 0]))).astype(np.int8)
    days = np.arange("2000-01-01", "2004-05-19", dtype="datetime64[D]")
    dataset = WindowDataset(
        torch.from_numpy(x), np.ones(1600), context_length=1, warmup=0, threshold=0.01, horizon=1
    )
    dataset.labels = torch.from_numpy(y).float()
    return Study(
        dataset=dataset,
        assets={"XYZ": slice(0, 1600)},
        judged=("XYZ",),
        trained=("XYZ",),
        dates=days,
        close=100 * np.exp(np.cumsum(rng.normal(0, 0.01, 1600))),
        ranges=rng.uniform(0.5, 2, 1600),
        raw_features=x,
        feature_names=tuple("abcde"),
        samples={name: np.arange(*ends) for name, ends in BLOCKS.items()},
        normaliser=Normaliser.fit(dataset.features, "abcde"),
        label_hash="",
        train_base_rate=float(y[:800].mean()),
    )


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 40)
    monkeypatch.setattr(baselines, "BOOSTING_ROUNDS", 60)
    monkeypatch.setattr(baselines, "LEAF_SIZES", (25, 100))


def test_every_baseline_of_features_finds_a_planted_signal() -> None:
    study = planted(1.5)
    fitted, missing = baselines.fit_baselines(study, TASK)
    assert list(fitted) == NAMES and not missing
    rows, y = study.samples["test"], study.labels("test")
    for name in OF_FEATURES:
        assert log_loss_skill(y, fitted[name].predict(study, rows), study.train_base_rate) > 0.1


def test_without_a_signal_no_baseline_claims_skill() -> None:
    study = planted(0.0)
    rows, y = study.samples["test"], study.labels("test")
    for baseline in baselines.fit_baselines(study, TASK).baselines.values():
        assert log_loss_skill(y, baseline.predict(study, rows), study.train_base_rate) < 0.02


def test_fitting_reads_no_test_day() -> None:
    study = planted(1.5)
    seen = {block: study.samples[block] for block in ("train", "validation")}
    blind = baselines.fit_baselines(dataclasses.replace(study, samples=seen), TASK).baselines
    rows = study.samples["test"]
    for name, seeing in baselines.fit_baselines(study, TASK).baselines.items():
        assert (seeing.predict(study, rows) == blind[name].predict(study, rows)).all()


@pytest.mark.parametrize(
    ("name", "setting", "tried"),
    [
        ("recent_rate", "base_rate_days", baselines.BASE_RATE_DAYS),
        ("har", "C", baselines.PENALTIES),
        ("logistic_regression", "C", baselines.PENALTIES),
        ("random_forest", "min_samples_leaf", (25, 100)),
        ("gradient_boosting", "rounds", tuple(range(10, 61, 10))),
    ],
)
def test_settings_are_those_of_the_lowest_validation_loss_and_tell_of_the_others(
    name: str, setting: str, tried: tuple[float, ...]
) -> None:
    study = planted(1.5)
    chosen = baselines.fit_baselines(study, TASK).baselines[name]
    losses = {one[setting]: one["validation_log_loss"] for one in chosen.settings["tried"]}
    assert tuple(losses) == tried
    assert chosen.settings[setting] == min(losses, key=lambda value: losses[value])
    p = chosen.predict(study, study.samples["validation"])
    assert log_loss(study.labels("validation"), p) == min(losses.values())


@pytest.mark.parametrize("horizon", [1, 3])
def test_prediction_rows_say_what_followed_each_day(horizon: int) -> None:
    study = planted(1.5)
    study = dataclasses.replace(
        study, samples={**study.samples, "test": study.samples["test"][:-horizon]}
    )
    task = TaskConfig(threshold=0.01, horizon=horizon)
    fitted = {"base_rate": baselines.fit_baselines(study, task).baselines["base_rate"]}
    rows, _ = baselines.judge(fitted, study, task, RunName(budget="baselines", seed=0))
    found = rows[rows["split"] == "test"].set_index("date")
    for day in (1200, 1201, 1400, 1599 - horizon):
        ahead = study.close[day + 1 : day + 1 + horizon] / study.close[day]
        row = found.loc[str(study.dates[day])]
        assert row["rises"] == (ahead.max() >= 1.01) and row["falls"] == (ahead.min() <= 0.99)
        assert row["next_return"] == ahead[0] - 1


def test_the_base_rate_is_that_of_the_judged_market() -> None:
    """Trained on two markets, a forecast of one is compared with the frequency of that one."""
    study = planted(1.5)
    assets = {"CALM": slice(0, 400), "WILD": slice(400, 1600)}
    study = dataclasses.replace(study, assets=assets, judged=("WILD",))
    study.dataset.labels[:400] = 0
    fitted = baselines.fit_baselines(study, TASK).baselines
    p = fitted["base_rate"].predict(study, study.samples["test"])
    assert set(p) == {study.labels("train")[400:].mean()}


def two_markets(first: Study, second: Study) -> Study:
    """The markets of two studies in one: ABC and XYZ."""
    rows = len(first.dates)
    both = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("dates", "close", "ranges", "raw_features")
    }
    return dataclasses.replace(
        first,
        dataset=WindowDataset.joined([first.dataset, second.dataset]),
        assets={"ABC": slice(0, rows), "XYZ": slice(rows, 2 * rows)},
        judged=("ABC", "XYZ"),
        trained=("ABC", "XYZ"),
        samples={
            block: np.concatenate([days, days + rows]) for block, days in first.samples.items()
        },
        **both,
    )


def test_a_regression_of_each_market_finds_what_the_pooled_one_cannot() -> None:
    study = two_markets(planted(1.5), planted(-1.5, seed=1))
    fitted = baselines.fit_baselines(study, TASK).baselines
    rows, y = study.samples["test"], study.labels("test")
    pooled, own = (
        log_loss_skill(y, fitted[name].predict(study, rows), study.train_base_rate)
        for name in ("logistic_regression", baselines.PER_MARKET)
    )
    assert pooled < 0.02 and own > 0.1


def test_a_market_is_forecast_from_its_own_training_rows_alone_whatever_rows_are_asked() -> None:
    first, second = planted(1.5), planted(-1.5, seed=1)
    study = two_markets(first, second)
    alone = baselines._logistic_per_market(dataclasses.replace(study, judged=("ABC",)), 1.0)
    both = baselines._logistic_per_market(study, 1.0)
    spoilt = two_markets(first, planted(0.7, seed=2))
    asked = np.array([1300, 1600 + 1300, 1301])
    found = both.predict(study, asked)
    assert found[[0, 2]].tolist() == alone.predict(study, asked[[0, 2]]).tolist()
    other = baselines._logistic_per_market(spoilt, 1.0).predict(study, asked)
    assert (other == found).tolist() == [True, False, True]


def test_where_a_judged_market_is_not_trained_on_no_model_is_one_markets_own() -> None:
    study = two_markets(planted(1.5), planted(-1.5, seed=1))
    every = {*baselines.fit_baselines(study, TASK).baselines}
    one = dataclasses.replace(
        study.of(["ABC"]), samples={**study.samples, "train": study.of(["ABC"]).samples["train"]}
    )
    fewer = {*baselines.fit_baselines(dataclasses.replace(one, trained=("ABC",)), TASK).baselines}
    assert every - fewer == {"garch", baselines.PER_MARKET}
