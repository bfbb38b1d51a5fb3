"""The baselines learn what can be learnt, see no test day, and are judged on the networks' days."""

import dataclasses

import numpy as np
import pytest
import torch

from scaling.data.dataset import Normaliser, Study, WindowDataset
from scaling.judging import baselines
from scaling.metrics import log_loss, log_loss_skill

BLOCKS = {"train": (0, 800), "validation": (800, 1200), "test": (1200, 1600)}
NAMES = ["base_rate", "logistic_regression", "random_forest", "gradient_boosting"]


def planted(strength: float, seed: int = 0) -> Study:
    """A study in which the first of five features moves the log-odds by `strength`."""
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
        dates=days,
        close=np.ones(1600),
        raw_features=x,
        feature_names=tuple("abcde"),
        samples={name: np.arange(*ends) for name, ends in BLOCKS.items()},
        normaliser=Normaliser.fit(dataset.features, "abcde"),
        label_hash="",
        train_base_rate=float(y[:800].mean()),
        epoch_windows=800,
    )


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TREES", 40)
    monkeypatch.setattr(baselines, "BOOSTING_ROUNDS", 60)
    monkeypatch.setattr(baselines, "LEAF_SIZES", (25, 100))


def test_every_baseline_but_the_base_rate_finds_a_planted_signal() -> None:
    study = planted(1.5)
    fitted = baselines.fit_baselines(study)
    assert list(fitted) == NAMES
    rows, y = baselines.last_rows(study, "test"), study.labels("test")
    for name in NAMES[1:]:
        assert log_loss_skill(y, fitted[name].predict(rows), study.train_base_rate) > 0.1


def test_without_a_signal_no_baseline_claims_skill() -> None:
    study = planted(0.0)
    rows, y = baselines.last_rows(study, "test"), study.labels("test")
    for baseline in baselines.fit_baselines(study).values():
        assert log_loss_skill(y, baseline.predict(rows), study.train_base_rate) < 0.02


def test_the_base_rate_is_the_training_blocks() -> None:
    study = planted(1.5)
    p = baselines.fit_baselines(study)["base_rate"].predict(baselines.last_rows(study, "test"))
    assert set(p) == {study.train_base_rate}


def test_fitting_reads_no_test_day() -> None:
    study = planted(1.5)
    seen = {block: study.samples[block] for block in ("train", "validation")}
    blind = baselines.fit_baselines(dataclasses.replace(study, samples=seen))
    rows = baselines.last_rows(study, "test")
    for name, seeing in baselines.fit_baselines(study).items():
        assert (seeing.predict(rows) == blind[name].predict(rows)).all()


def test_settings_are_those_of_the_lowest_validation_loss() -> None:
    study = planted(1.5)
    chosen = baselines.fit_baselines(study)["gradient_boosting"]
    x, y = baselines.last_rows(study, "train"), study.labels("train")
    rows = baselines.last_rows(study, "validation")
    losses = {
        b.settings["rounds"]: log_loss(study.labels("validation"), b.predict(rows))
        for b in baselines._boosting(x, y)
    }
    assert chosen.settings["rounds"] == min(losses, key=lambda rounds: losses[rounds])
    assert chosen.settings["validation_log_loss"] == min(losses.values())


def test_a_baseline_sees_the_last_row_of_the_window() -> None:
    study = planted(1.5)
    rows = baselines.last_rows(study, "test")
    assert (rows[0] == study.dataset.features[1200].numpy()).all()
    assert len(rows) == 400


def test_the_base_rate_is_that_of_the_judged_market() -> None:
    """Trained on two markets, a forecast of one is compared with the frequency of that one."""
    study = planted(1.5)
    assets = {"CALM": slice(0, 400), "WILD": slice(400, 1600)}
    study = dataclasses.replace(study, assets=assets, judged=("WILD",))
    study.dataset.labels[:400] = 0
    p = baselines.fit_baselines(study)["base_rate"].predict(baselines.last_rows(study, "test"))
    assert set(p) == {study.labels("train")[400:].mean()}
