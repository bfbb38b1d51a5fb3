"""Labels, windows, splits and normalisation: no look ahead, no off-by-one."""

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scaling.config import TrainingConfig, load_config
from scaling.data.dataset import (
    Normaliser,
    WindowDataset,
    label_hash,
    load_study,
    split_samples,
    threshold_labels,
)
from scaling.data.features import build_features
from scaling.data.prices import load_prices
from scaling.errors import UserError
from scaling.record import write_parquet
from scaling.run import TrainingDays
from scaling.splits import SplitConfig

ROWS, CHANNELS, CONTEXT, WARMUP = 60, 3, 8, 10


def dataset(close: NDArray[np.float64] | None = None, horizon: int = 1) -> WindowDataset:
    """Features that name their own row, so that a window shows where it was cut."""
    features = torch.arange(ROWS, dtype=torch.float32)[:, None].repeat(1, CHANNELS)
    if close is None:
        close = 100 + np.sin(np.arange(ROWS))
    return WindowDataset(
        features, close, context_length=CONTEXT, warmup=WARMUP, threshold=0.01, horizon=horizon
    )


def test_dataset_returns_correct_shapes() -> None:
    window, target = dataset()[0]
    assert window.shape == (CONTEXT, CHANNELS)
    assert target.shape == (1,)


def test_dataset_binary_label_threshold_1pct() -> None:
    close = np.array([100.0, 101.0, 101.0, 102.0, 103.2, 100.0, 101.5])
    # +1 % exactly counts; 101 -> 102 is +0.99 %; 102 -> 103.2 is +1.18 %.
    assert threshold_labels(close, 0.01, 1).tolist() == [1, 0, 0, 1, 0, 1]


def test_dataset_handles_horizon_correctly() -> None:
    close = np.full(20, 100.0)
    close[10] = 102.0
    labels = threshold_labels(close, 0.01, horizon=5)
    assert np.flatnonzero(labels).tolist() == [5, 6, 7, 8, 9]  # day 5 sees day 10, day 4 does not


def test_dataset_excludes_samples_near_end() -> None:
    data = dataset(horizon=5)
    window, _ = data[len(data) - 1]
    assert window[-1, 0] == ROWS - 1 - 5


def test_dataset_length_matches_expected() -> None:
    assert len(dataset(horizon=5)) == ROWS - WARMUP - 5


def test_dataset_raises_on_nan_in_close() -> None:
    close = np.full(ROWS, 100.0)
    close[7] = np.nan
    with pytest.raises(ValueError, match=r"rows \[7\]"):
        dataset(close)


def test_dataset_rejects_short_sequences() -> None:
    features, close = torch.zeros(WARMUP + 1, CHANNELS), np.full(WARMUP + 1, 100.0)
    with pytest.raises(ValueError, match="too few"):
        WindowDataset(
            features, close, context_length=CONTEXT, warmup=WARMUP, threshold=0.01, horizon=1
        )


def test_dataset_warmup_excludes_initial_rows() -> None:
    window, _ = dataset()[0]
    assert window[-1, 0] == WARMUP
    assert window[0, 0] == WARMUP - CONTEXT + 1


def test_a_nan_feature_is_refused_with_its_row() -> None:
    features = torch.zeros(ROWS, CHANNELS)
    features[12, 1] = torch.nan
    with pytest.raises(UserError, match=r"rows \[12\]"):
        WindowDataset(
            features, np.full(ROWS, 1.0), context_length=8, warmup=10, threshold=0.01, horizon=1
        )


def test_a_batch_is_the_same_as_its_items() -> None:
    data = dataset()
    windows, targets = data.batch(torch.tensor([WARMUP, WARMUP + 7]))
    for position, item in enumerate((0, 7)):
        assert torch.equal(windows[position], data[item][0])
        assert torch.equal(targets[position], data[item][1])


def test_items_outside_the_dataset_are_refused() -> None:
    data = dataset()
    for item in (-1, len(data)):
        with pytest.raises(IndexError):
            data[item]


@settings(max_examples=50, deadline=None)
@given(
    close=st.lists(st.floats(1, 1e4), min_size=12, max_size=60),
    threshold=st.floats(0.001, 0.2),
    horizon=st.integers(1, 10),
    direction=st.sampled_from(["up", "down", "either"]),
)
def test_labels_equal_the_definition_read_aloud(
    close: list[float], threshold: float, horizon: int, direction: str
) -> None:
    expected = []
    for t in range(len(close) - horizon):
        following = close[t + 1 : t + horizon + 1]
        up = max(following) >= close[t] * (1 + threshold)
        down = min(following) <= close[t] * (1 - threshold)
        asked = {"up": up, "down": down, "either": up or down}[direction]
        expected.append(int(asked))
    assert threshold_labels(close, threshold, horizon, direction).tolist() == expected


def test_a_fall_counts_at_the_threshold_itself_and_on_the_last_day_of_the_horizon() -> None:
    close = np.array([100.0, 99.0, 98.02, 97.5, 100.0, 99.5])
    # -1 % exactly counts; 99 -> 98.02 is -0.99 %; 98.02 -> 97.5 is -0.53 %.
    assert threshold_labels(close, 0.01, 1, "down").tolist() == [1, 0, 0, 0, 0]
    assert threshold_labels(close, 0.01, 2, "down").tolist() == [1, 1, 0, 0]
    assert threshold_labels(close, 0.01, 1, "either").tolist() == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("direction", ["down", "either"])
def test_a_study_is_labelled_in_the_direction_that_its_config_asks_for(
    study_config: TrainingConfig, direction: str
) -> None:
    asked = dataclasses.replace(study_config.task, direction=direction)
    study = load_study(dataclasses.replace(study_config, task=asked))
    close = pd.Series(study.close)
    change = close.shift(-1) / close - 1
    falls = change[study.samples["validation"]] <= -0.01
    expected = falls if direction == "down" else falls | (change[falls.index] >= 0.01)
    assert (study.labels("validation") == expected).all()
    assert study.label_hash != load_study(study_config).label_hash


def test_the_labels_of_the_shipped_study_are_those_of_earlier_releases(
    study_config: TrainingConfig,
) -> None:
    assert load_study(study_config).label_hash == "48042840d402fa45"


def test_labels_of_normalised_closes_differ_and_scaled_features_change_none() -> None:
    """Where closes were z-scored before labels were computed, half of the labels flipped."""
    close = np.asarray(load_prices("data/raw/SPY.parquet")["close"], dtype=np.float64)[:500]
    with pytest.raises(UserError, match="raw closes"):
        threshold_labels((close - close.mean()) / close.std(), 0.01, 1)
    plain, scaled = (
        WindowDataset(f, close, context_length=8, warmup=10, threshold=0.01, horizon=1).labels
        for f in (torch.ones(500, 2), torch.ones(500, 2) * 7 - 3)
    )
    assert torch.equal(plain, scaled)


def test_the_label_hash_changes_with_one_label_or_one_day() -> None:
    days = np.arange("2000-01-03", "2000-01-13", dtype="datetime64[D]")
    labels = np.array([0, 1] * 5, dtype=np.int8)
    flipped = labels.copy()
    flipped[3] ^= 1
    assert (
        len({label_hash(days, labels), label_hash(days, flipped), label_hash(days + 1, labels)})
        == 3
    )


SPLITS = SplitConfig(
    train=(date(2000, 1, 1), date(2000, 1, 31)),
    validation=(date(2000, 2, 1), date(2000, 2, 15)),
    test=(date(2000, 2, 16), date(2000, 3, 15)),
)


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_no_label_looks_across_a_boundary(horizon: int) -> None:
    days = np.arange("2000-01-01", "2000-03-20", dtype="datetime64[D]")
    samples = split_samples(days, SPLITS, warmup=5, horizon=horizon)
    for block, chosen in samples.items():
        first, last = (np.datetime64(d) for d in getattr(SPLITS, block))
        assert days[chosen].min() >= first
        assert days[chosen + horizon].max() == last  # purged exactly as far as needed


def test_the_normaliser_is_fitted_on_training_rows_alone(study_config: TrainingConfig) -> None:
    study = load_study(study_config)
    first, last = (np.datetime64(d) for d in study_config.splits.train)
    rows = study.raw_features[(study.dates >= first) & (study.dates <= last)]
    assert np.allclose(study.normaliser.mean.numpy(), rows.mean(axis=0), atol=1e-4)
    assert np.allclose(study.normaliser.std.numpy(), rows.std(axis=0, ddof=1), rtol=1e-3)


@pytest.mark.parametrize("days", [TrainingDays(), TrainingDays(1000)])
def test_the_training_rows_of_the_dataset_have_mean_0_and_deviation_1(
    study_config: TrainingConfig, days: TrainingDays
) -> None:
    """Held to the rows themselves, because features divided by their variance passed once."""
    study = load_study(dataclasses.replace(study_config, days=days))
    first, last = (np.datetime64(d) for d in study_config.splits.train)
    block = np.flatnonzero((study.dates >= first) & (study.dates <= last))
    rows = study.dataset.features[block if days.whole else study.samples["train"]].double()
    std, mean = torch.std_mean(rows, dim=0)
    assert mean.abs().max() < 1e-4
    assert (std - 1).abs().max() < 1e-4


def test_a_constant_feature_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="flat_one"):
        Normaliser.fit(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), ["flat_one", "other"])


@pytest.fixture
def study_config(tmp_path: Path) -> TrainingConfig:
    """The shipped experiment, its features built from the registered prices into `tmp_path`."""
    config = load_config("configs/daily/threshold_1pct.yaml")
    features = tmp_path / "SPY_features_a20.parquet"
    write_parquet(features, build_features(load_prices(config.data.prices)))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, features=features))


def test_training_never_holds_a_test_row(study_config: TrainingConfig) -> None:
    study = load_study(study_config)
    assert study.dates.max() <= np.datetime64(study_config.splits.validation[1])
    assert "test" not in study.samples
    assert len(study.dataset.features) == len(study.dates)


def test_windows_end_on_the_sample_day_and_labels_are_the_next_close(
    study_config: TrainingConfig,
) -> None:
    study = load_study(study_config)
    close = pd.Series(study.close, index=study.dates)
    for day in study.samples["validation"][::97]:
        windows, targets = study.dataset.batch(torch.tensor([day]))
        last_row = study.normaliser(torch.from_numpy(study.raw_features[day]))
        assert torch.equal(windows[0, -1], last_row)
        assert targets.item() == float(close.iloc[day + 1] >= close.iloc[day] * 1.01)


def test_a_block_with_too_few_positives_is_refused_with_both_counts(
    study_config: TrainingConfig,
) -> None:
    """19 validation samples once gave a published result."""
    task = dataclasses.replace(study_config.task, threshold=0.05)
    with pytest.raises(UserError, match=r"1,?005 samples, 0 of them positive"):
        load_study(dataclasses.replace(study_config, task=task))


def test_features_of_other_days_are_refused(study_config: TrainingConfig) -> None:
    path = study_config.data.features
    write_parquet(path, pd.read_parquet(path).drop(index=pd.Timestamp("2000-01-05")))
    with pytest.raises(UserError, match="2000-01-05"):
        load_study(study_config)
