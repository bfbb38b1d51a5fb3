"""Windows of features and threshold labels, split by date, that never look ahead.

Sample `t` sees rows `t - context_length + 1 .. t` and is asked about `t + 1 .. t + horizon`.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from scaling.config import SplitConfig, TrainingConfig
from scaling.data.features import check_dates, load_features
from scaling.data.prices import prices_of
from scaling.errors import UserError
from scaling.record import fingerprint

Dates = npt.NDArray[np.datetime64]
Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]
BEFORE_TEST = ("train", "validation")


def threshold_labels(
    close: npt.ArrayLike, threshold: float, horizon: int, direction: str = "up"
) -> Labels:
    """Whether the closes of days `t+1 .. t+horizon`, the last included, reach a threshold.

    "up" asks for `max(close[t+1 .. t+horizon]) >= close[t] * (1 + threshold)`, "down" for
    `min(close[t+1 .. t+horizon]) <= close[t] * (1 - threshold)`, "either" for one of the two.
    `close`, shape `(rows,)`, must be raw prices: normalised prices give other labels. Returns 0 or
    1 for each of the `rows - horizon` days that are followed by `horizon` rows. Raises `UserError`
    for a close that is not a positive number.
    """
    close = np.asarray(close, dtype=np.float64)
    if not np.isfinite(close).all() or not (close > 0).all():
        bad = np.flatnonzero(~(np.isfinite(close) & (close > 0)))
        raise UserError(
            f"close is not a positive price in rows {bad[:5].tolist()} ({len(bad)} in all); "
            "labels need raw closes without gaps"
        )
    future = np.lib.stride_tricks.sliding_window_view(close[1:], horizon)
    rises = future.max(axis=1) >= close[:-horizon] * (1 + threshold)
    falls = future.min(axis=1) <= close[:-horizon] * (1 - threshold)
    asked = {"up": rises, "down": falls, "either": rises | falls}[direction]
    labels: Labels = asked.astype(np.int8)
    return labels


def label_hash(dates: Dates, labels: Labels) -> str:
    """16 hex digits that two studies share only if they have the same labels on the same days."""
    return fingerprint([dates.astype("datetime64[D]").astype(str).tolist(), labels.tolist()])


@dataclass(frozen=True)
class Normaliser:
    """Mean and standard deviation of each channel, fitted on the training rows alone."""

    mean: torch.Tensor
    std: torch.Tensor

    @classmethod
    def fit(cls, rows: torch.Tensor, names: Sequence[str]) -> "Normaliser":
        """Fit on `rows`, shape `(rows, channels)`. A constant channel is a `UserError`."""
        std, mean = torch.std_mean(rows.double(), dim=0)
        if flat := [name for name, s in zip(names, std, strict=True) if not s > 0]:
            raise UserError(f"constant in the training rows: {', '.join(flat)}; drop or mend them")
        return cls(mean.float(), std.float())

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Standardise `(rows, channels)`."""
        return (rows - self.mean) / self.std


class WindowDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Item `i` is day `warmup + i`: a window `(context_length, n_features)` and a target `(1,)`.

    The length is `rows - warmup - horizon`. All rows are one tensor and `batch` gathers from it, so
    that training runs no Python code per sample.
    """

    def __init__(
        self,
        features: torch.Tensor,
        close: npt.ArrayLike,
        *,
        context_length: int,
        warmup: int,
        threshold: float,
        horizon: int,
        direction: str = "up",
    ) -> None:
        rows = len(features)
        if rows <= warmup + horizon:
            raise UserError(
                f"{rows} rows are too few for warmup {warmup} and horizon {horizon}; "
                f"at least {warmup + horizon + 1} are needed"
            )
        if warmup < context_length - 1:
            raise UserError(f"warmup {warmup} is below context_length - 1 = {context_length - 1}")
        if not torch.isfinite(features).all():
            bad = (~torch.isfinite(features)).any(dim=1).nonzero().flatten()
            raise UserError(f"features are not finite in rows {bad[:5].tolist()}")
        self.features = features.contiguous()
        self.labels = torch.from_numpy(
            threshold_labels(close, threshold, horizon, direction)
        ).float()
        self.context_length = context_length
        self.warmup = warmup

    def __len__(self) -> int:
        return len(self.labels) - self.warmup

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= item < len(self):
            raise IndexError(f"sample {item} of {len(self)}")
        windows, targets = self.batch(torch.tensor([item + self.warmup]))
        return windows[0], targets[0]

    def batch(self, days: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows `(n, context_length, n_features)` and targets `(n, 1)` for `n` row indices."""
        return self.windows(days), self.labels.index_select(0, days).unsqueeze(1)

    def windows(self, days: torch.Tensor) -> torch.Tensor:
        """Windows `(n, context_length, n_features)` of any rows; the last ones have no label."""
        windows = self.features.unfold(0, self.context_length, 1)
        return windows.index_select(0, days - self.context_length + 1).transpose(1, 2)

    def to(self, device: torch.device) -> "WindowDataset":
        """A copy of the dataset whose tensors are on `device`."""
        moved = object.__new__(WindowDataset)
        moved.__dict__.update(self.__dict__)
        moved.features, moved.labels = self.features.to(device), self.labels.to(device)
        return moved


def split_samples(
    dates: Dates, splits: SplitConfig, warmup: int, horizon: int
) -> dict[str, Indices]:
    """Row indices of the sample days of each block.

    A day is purged if its label looks past the end of its block, because that outcome belongs to
    the next block.
    """
    days = np.arange(warmup, len(dates) - horizon)
    answered = dates[days + horizon]
    samples = {}
    for name in ("train", "validation", "test"):
        first, last = (np.datetime64(d, "D") for d in getattr(splits, name))
        samples[name] = days[(dates[days] >= first) & (answered <= last)]
    return samples


def training_days(block: Indices, dates: Dates, config: TrainingConfig) -> Indices:
    """The sample days of the training block that are trained on, in order.

    All of them, or `config.train_days`: the most recent ones, or calendar quarters that the seed
    draws from the whole block, the last one cut short to give the exact number.
    """
    wanted = config.train_days
    if wanted is None:
        return block
    if wanted > len(block):
        raise UserError(
            f"train_days: got {wanted}; allowed: up to {len(block)}, the days of the training "
            "block, or `all`"
        )
    if config.days == "recent":
        return block[-wanted:]
    months = dates[block].astype("datetime64[M]").astype(int)
    quarters = np.split(block, np.flatnonzero(np.diff(months // 3)) + 1)
    drawn = np.random.default_rng(config.seed).permutation(len(quarters))
    return np.sort(np.concatenate([quarters[quarter] for quarter in drawn])[:wanted])


@dataclass(frozen=True)
class Study:
    """What a model of one experiment may see: normalised windows, and the days of each block.

    `train_base_rate` is the share of positives in the whole training block, the reference of all
    skill. `epoch_windows` is the number of its days: an epoch has as many windows however few days
    are trained on, so that only the days differ between trainings, and not the steps.
    """

    dataset: WindowDataset
    dates: Dates
    close: npt.NDArray[np.float64]
    raw_features: npt.NDArray[np.float32]
    feature_names: tuple[str, ...]
    samples: dict[str, Indices]
    normaliser: Normaliser
    label_hash: str
    train_base_rate: float
    epoch_windows: int

    def labels(self, block: str) -> Labels:
        """0 or 1 for each sample day of a block."""
        return self.dataset.labels.cpu().numpy()[self.samples[block]].astype(np.int8)


def load_study(config: TrainingConfig, blocks: Sequence[str] = BEFORE_TEST) -> Study:
    """Join prices and features on their dates, then label, split and normalise them.

    Rows after the last of `blocks` are dropped before anything is computed, so with the default the
    test block is never in memory. Raises `UserError` for a date that only one of the two tables
    has, and for a block with fewer samples or positives than the config's minimum.
    """
    last = np.datetime64(getattr(config.splits, blocks[-1])[1], "D")
    rows = _rows_until(last, config)
    samples = split_samples(rows.dates, config.splits, config.window.warmup, config.task.horizon)
    samples = {block: samples[block] for block in blocks}
    block = samples["train"]
    samples["train"] = training_days(block, rows.dates, config)
    chosen = samples["train"] if config.train_days else _rows_between(rows, config.splits.train)
    normaliser = Normaliser.fit(torch.from_numpy(rows.features[chosen]), rows.names)
    dataset = _windows(rows, normaliser, config)
    labels = dataset.labels.numpy().astype(np.int8)
    _refuse_thin_blocks(samples, labels, config.splits)
    # However many days are trained on, the question is that of the whole block.
    seen = np.concatenate([block, samples["validation"]])
    return Study(
        dataset=dataset,
        dates=rows.dates,
        close=rows.close,
        raw_features=rows.features,
        feature_names=rows.names,
        samples=samples,
        normaliser=normaliser,
        label_hash=label_hash(rows.dates[seen], labels[seen]),
        train_base_rate=float(labels[block].mean()),
        epoch_windows=len(block),
    )


def load_every_day(config: TrainingConfig, normaliser: Normaliser) -> tuple[WindowDataset, Dates]:
    """Windows of all registered days, also of the last `horizon`, and the date of each row.

    A forecast needs them: nobody knows yet what follows the latest day.
    """
    rows = _rows_until(np.datetime64("9999-12-31"), config)
    return _windows(rows, normaliser, config), rows.dates


class _Rows(NamedTuple):
    """The days that have features: dates and closes `(rows,)`, raw features `(rows, channels)`."""

    dates: Dates
    close: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    names: tuple[str, ...]


def _rows_until(last: np.datetime64, config: TrainingConfig) -> _Rows:
    prices = prices_of(config.data)
    features = load_features(config.data.features)
    check_dates(prices, features, config.data.features)
    prices = prices.loc[features.index[0] :]  # the first price rows have no features
    dates = prices.index.to_numpy().astype("datetime64[D]")
    kept = dates <= last
    if kept.sum() <= config.window.warmup + config.task.horizon:
        raise UserError(f"{config.data.prices}: {kept.sum()} rows up to {last} are too few")
    return _Rows(
        dates[kept],
        prices["close"].to_numpy(np.float64)[kept],
        features.to_numpy(np.float32)[kept],
        tuple(str(name) for name in features.columns),
    )


def _windows(rows: _Rows, normaliser: Normaliser, config: TrainingConfig) -> WindowDataset:
    return WindowDataset(
        normaliser(torch.from_numpy(rows.features)),
        rows.close,
        context_length=config.window.context_length,
        warmup=config.window.warmup,
        threshold=config.task.threshold,
        horizon=config.task.horizon,
        direction=config.task.direction,
    )


def _rows_between(rows: _Rows, block: tuple[datetime.date, datetime.date]) -> Indices:
    """The rows of a block, sample days or not; fewer than two are a `UserError`."""
    first, last = (np.datetime64(day, "D") for day in block)
    chosen = np.flatnonzero((rows.dates >= first) & (rows.dates <= last))
    if len(chosen) < 2:
        raise UserError(
            f"splits.train: no rows between {first} and {last}; the data begin on {rows.dates[0]}"
        )
    return chosen


def _refuse_thin_blocks(samples: dict[str, Indices], labels: Labels, splits: SplitConfig) -> None:
    for block, days in samples.items():
        positives = int(labels[days].sum())
        scarce = min(positives, len(days) - positives)
        if len(days) < splits.min_samples or scarce < splits.min_positives:
            raise UserError(
                f"splits.{block}: {len(days)} samples, {positives} of them positive; at least "
                f"{splits.min_samples} samples and {splits.min_positives} of either class are "
                "needed: widen the block, or lower task.threshold"
            )
