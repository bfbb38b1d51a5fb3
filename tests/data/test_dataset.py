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

from scaling.config import TrainingConfig
from scaling.data.dataset import (
    Normaliser,
    WindowDataset,
    label_hash,
    load_study,
    split_samples,
    threshold_labels,
)
from scaling.errors import UserError
from scaling.record import write_parquet
from scaling.run import TrainingDays
from scaling.splits import SplitConfig

ROWS, CHANNELS, CONTEXT, WARMUP = 60, 3, 8, 10


def dataset(rows: int = ROWS, horizon: int = 1, flaw: str = "") -> WindowDataset:
    """Features that name their own row, so that a window shows where it was cut."""
    features = torch.arange(rows, dtype=torch.float32)[:, None].repeat(1, CHANNELS)
    close = 100 + np.sin(np.arange(rows))
    if flaw == "feature":
        features[7, 1] = torch.nan
    if flaw == "close":
        close[7] = np.nan
    return WindowDataset(
        features, close, context_length=CONTEXT, warmup=WARMUP, threshold=0.01, horizon=horizon
    )


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_first_window_ends_after_the_warmup_and_the_last_has_an_answer(horizon: int) -> None:
    data = dataset(horizon=horizon)
    assert len(data) == ROWS - WARMUP - horizon
    window, target = data[0]
    assert window.shape == (CONTEXT, CHANNELS) and target.shape == (1,)
    assert (window[0, 0], window[-1, 0]) == (WARMUP - CONTEXT + 1, WARMUP)
    assert data[len(data) - 1][0][-1, 0] == ROWS - 1 - horizon


@pytest.mark.parametrize(
    ("rows", "flaw", "said"),
    [
        (WARMUP + 1, "", "too few"),
        (ROWS, "feature", r"features are not finite in rows \[7\]"),
        (ROWS, "close", r"close is not a positive price in rows \[7\]"),
    ],
)
def test_too_few_rows_and_those_without_a_number_are_refused(
    rows: int, flaw: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        dataset(rows, flaw=flaw)


def test_dataset_binary_label_threshold_1pct() -> None:
    close = np.array([100.0, 101.0, 101.0, 102.0, 103.2, 100.0, 101.5])
    # +1 % exactly counts; 101 -> 102 is +0.99 %; 102 -> 103.2 is +1.18 %.
    assert threshold_labels(close, 0.01, 1).tolist() == [1, 0, 0, 1, 0, 1]


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
    shipped: TrainingConfig, direction: str
) -> None:
    asked = dataclasses.replace(shipped.task, direction=direction)
    study = load_study(dataclasses.replace(shipped, task=asked))
    close = pd.Series(study.close)
    change = close.shift(-1) / close - 1
    falls = change[study.samples["validation"]] <= -0.01
    expected = falls if direction == "down" else falls | (change[falls.index] >= 0.01)
    assert (study.labels("validation") == expected).all()
    assert study.label_hash != load_study(shipped).label_hash


def test_the_labels_of_the_shipped_study_are_those_of_earlier_releases(
    shipped: TrainingConfig,
) -> None:
    assert load_study(shipped).label_hash == "48042840d402fa45"


def test_labels_of_normalised_closes_are_refused(spy: pd.DataFrame) -> None:
    """Where closes were z-scored before labels were computed, half of the labels flipped."""
    close = spy["close"].to_numpy()[:500]
    with pytest.raises(UserError, match="raw closes"):
        threshold_labels((close - close.mean()) / close.std(), 0.01, 1)


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


@pytest.mark.parametrize("days", [TrainingDays(), TrainingDays(1000, "blocks")])
def test_the_training_rows_of_the_dataset_have_mean_0_and_deviation_1(
    shipped: TrainingConfig, days: TrainingDays
) -> None:
    """Held to the rows themselves, because features divided by their variance passed once."""
    study = load_study(dataclasses.replace(shipped, days=days))
    first, last = (np.datetime64(d) for d in shipped.splits.train)
    block = np.flatnonzero((study.dates >= first) & (study.dates <= last))
    rows = study.dataset.features[block if days.whole else study.samples["train"]].double()
    std, mean = torch.std_mean(rows, dim=0)
    assert mean.abs().max() < 1e-4
    assert (std - 1).abs().max() < 1e-4


def test_a_constant_feature_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="flat_one"):
        Normaliser.fit(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), ["flat_one", "other"])


@pytest.mark.parametrize(
    ("threshold", "last", "counts"),
    [
        (0.05, "validation", "splits.validation: 1,?005 samples, 0 of them positive"),
        (0.03, "test", "splits.test: .* samples, 5 of them positive"),
    ],
)
def test_a_block_with_too_few_positives_is_refused_with_both_counts(
    shipped: TrainingConfig, threshold: float, last: str, counts: str
) -> None:
    """19 validation samples once gave a published result."""
    task = dataclasses.replace(shipped.task, threshold=threshold)
    blocks = ("train", "validation", "test")
    with pytest.raises(UserError, match=counts):
        load_study(dataclasses.replace(shipped, task=task), blocks[: blocks.index(last) + 1])


def test_features_of_other_days_are_refused(shipped: TrainingConfig, tmp_path: Path) -> None:
    path = tmp_path / "SPY_features_a20.parquet"
    table = pd.read_parquet(shipped.data.features)
    write_parquet(path, table.drop(index=pd.Timestamp("2000-01-05")))
    data = dataclasses.replace(shipped.data, features=path)
    with pytest.raises(UserError, match="2000-01-05"):
        load_study(dataclasses.replace(shipped, data=data))
