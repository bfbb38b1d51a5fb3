"""Windows of features and threshold labels, split by date, that never look ahead.

Sample `t` sees rows `t - context_length + 1 .. t` and is asked about `t + 1 .. t + horizon`.
The rows of several markets stand one market after another. Each market has windows, labels and
splits of its own rows alone.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset

from scaling.config import Market, TrainingConfig
from scaling.data.features import check_dates, load_features
from scaling.data.prices import daily_ranges, prices_of
from scaling.errors import UserError
from scaling.record import fingerprint
from scaling.run import WHOLE_BLOCK
from scaling.splits import SplitConfig

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
    that training runs no Python code per sample. `joined` holds the items of several datasets.
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
        self.items = torch.arange(warmup, len(self.labels))
        self.context_length = context_length
        self.warmup = warmup

    @classmethod
    def joined(cls, parts: Sequence["WindowDataset"]) -> "WindowDataset":
        """The rows of several datasets, one after another, and the items of each.

        Rows between two datasets have no label. They get NaN, so that no loss with one of them is
        finite.
        """
        labels = [
            pad(part.labels, (0, len(part.features) - len(part.labels)), value=torch.nan)
            for part in parts[:-1]
        ]
        starts = np.cumsum([0, *(len(part.features) for part in parts[:-1])]).tolist()
        whole = parts[0]._with(
            torch.cat([part.features for part in parts]), torch.cat([*labels, parts[-1].labels])
        )
        whole.items = torch.cat(
            [part.items + start for part, start in zip(parts, starts, strict=True)]
        )
        return whole

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= item < len(self):
            raise IndexError(f"sample {item} of {len(self)}")
        windows, targets = self.batch(self.items[item : item + 1])
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
        return self._with(self.features.to(device), self.labels.to(device))

    def _with(self, features: torch.Tensor, labels: torch.Tensor) -> "WindowDataset":
        copy = object.__new__(WindowDataset)
        copy.__dict__.update(self.__dict__)
        copy.features, copy.labels = features, labels
        return copy


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
    """The samples of the training block that are trained on, in order.

    All of them, or those of `train_days` days: the most recent ones, or calendar quarters
    that the seed draws from the whole block, the last one cut short to give the exact number. A day
    is a date. It has a sample of each market that was open.
    """
    wanted = config.days.train_days
    if wanted == WHOLE_BLOCK:
        return block
    days = np.unique(dates[block])
    if wanted > len(days):
        raise UserError(
            f"train_days: got {wanted}; allowed: up to {len(days)}, the days of the training "
            "block, or `all`"
        )
    if config.days.draw == "recent":
        chosen = days[-wanted:]
    else:
        months = days.astype("datetime64[M]").astype(int)
        quarters = np.split(days, np.flatnonzero(np.diff(months // 3)) + 1)
        drawn = np.random.default_rng(config.seed).permutation(len(quarters))
        chosen = np.concatenate([quarters[quarter] for quarter in drawn])[:wanted]
    return block[np.isin(dates[block], chosen)]


def training_markets(config: TrainingConfig) -> tuple[str, ...]:
    """The markets that are trained on: all of them, or some that the seed draws.

    The draws of one seed are nested: a market that is among the first 4 is among the first 7.
    """
    names = [market.name for market in config.data.markets]
    if config.markets is None:
        return tuple(names)
    drawn = np.random.default_rng(config.seed).permutation(len(names))
    return tuple(names[market] for market in drawn[: config.markets])


@dataclass(frozen=True)
class Study:
    """What a model of one experiment may see: normalised windows, and the samples of each block.

    `assets` maps the name of each market to its rows. All markets are in the training block, the
    `judged` ones alone in the others; `trained` are those that the training block is left with.
    `train_base_rate` is the share of positives of the judged
    markets in the whole training block, the reference of all skill. `ranges` are those of
    `daily_ranges`.
    """

    dataset: WindowDataset
    assets: Mapping[str, slice]
    judged: tuple[str, ...]
    trained: tuple[str, ...]
    dates: Dates
    close: npt.NDArray[np.float64]
    ranges: npt.NDArray[np.float64]
    raw_features: npt.NDArray[np.float32]
    feature_names: tuple[str, ...]
    samples: dict[str, Indices]
    normaliser: Normaliser
    label_hash: str
    train_base_rate: float

    def labels(self, block: str) -> Labels:
        """0 or 1 for each sample of a block."""
        return self.dataset.labels.cpu().numpy()[self.samples[block]].astype(np.int8)

    @property
    def counted(self) -> dict[str, int]:
        """How many days and markets are trained on. A day may have a sample of each market."""
        days = len(set(self.dates[self.samples["train"]]))
        return {"counted_days": days, "counted_markets": len(self.trained)}

    def days(self, block: str) -> dict[str, npt.NDArray[Any]]:
        """The `date` of each sample of a block, and in a study of several markets its `asset`."""
        rows = self.samples[block]
        columns: dict[str, npt.NDArray[Any]] = {"date": self.dates[rows].astype("datetime64[us]")}
        if len(self.assets) > 1:
            ends = [own.stop for own in self.assets.values()]
            columns["asset"] = np.array(list(self.assets))[np.searchsorted(ends, rows, "right")]
        return columns

    def of(self, names: Collection[str]) -> "Study":
        """The same study with the samples of some of its markets only."""
        samples = {b: _rows_of(names, self.assets, rows) for b, rows in self.samples.items()}
        return replace(self, samples=samples)


def load_study(config: TrainingConfig, blocks: Sequence[str] = BEFORE_TEST) -> Study:
    """Join prices and features on their dates, then label, split and normalise them.

    Rows after the last of `blocks` are dropped before anything is computed, so with the default the
    test block is never in memory. Of a market that is not judged, rows after the training block are
    dropped. One normaliser is fitted to the training rows of all markets, which is fair because the
    features have no scale of their own. Raises `UserError` for a date that only one of the two
    tables has, for a sample outside its block, and for a block with fewer samples or positives of a
    market than the config's minimum.
    """
    markets = config.data.markets
    ends = {True: getattr(config.splits, blocks[-1])[1], False: config.splits.train[1]}
    rows = _joined([_rows_until(np.datetime64(ends[m.judged], "D"), m, config) for m in markets])
    samples = _samples(rows, config, blocks)
    _refuse_days_outside_their_block(rows, samples, config)
    block, trained = samples["train"], training_markets(config)
    own = _rows_of(trained, rows.assets, block)
    samples["train"] = training_days(own, rows.dates, config)
    whole = config.days.whole and config.markets is None
    chosen = _rows_between(rows, config.splits.train) if whole else samples["train"]
    normaliser = Normaliser.fit(torch.from_numpy(rows.features[chosen]), rows.names)
    dataset = _windows(rows, normaliser, config)
    labels = np.nan_to_num(dataset.labels.numpy()).astype(np.int8)
    _refuse_thin_blocks(rows.assets, samples, labels, config, trained)
    # However many days and markets are trained on, the question is that of the whole block.
    seen = np.concatenate([block, samples["validation"]])
    judged = tuple(market.name for market in markets if market.judged)
    return Study(
        dataset=dataset,
        assets=rows.assets,
        judged=judged,
        trained=trained,
        dates=rows.dates,
        close=rows.close,
        ranges=rows.ranges,
        raw_features=rows.features,
        feature_names=rows.names,
        samples=samples,
        normaliser=normaliser,
        label_hash=label_hash(rows.dates[seen], labels[seen]),
        train_base_rate=float(labels[_rows_of(judged, rows.assets, block)].mean()),
    )


def load_every_day(
    market: Market, config: TrainingConfig, normaliser: Normaliser
) -> tuple[WindowDataset, Dates]:
    """Windows of all registered days of a market, also of the last `horizon`, and their dates.

    A forecast needs them: nobody knows yet what follows the latest day.
    """
    rows = _joined([_rows_until(np.datetime64("9999-12-31"), market, config)])
    return _windows(rows, normaliser, config), rows.dates


class _Rows(NamedTuple):
    """The days with features: dates, closes, ranges `(rows,)`, raw features `(rows, channels)`."""

    dates: Dates
    close: npt.NDArray[np.float64]
    ranges: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    names: tuple[str, ...]
    assets: dict[str, slice]
    """The rows of each market."""


def _rows_until(last: np.datetime64, market: Market, config: TrainingConfig) -> _Rows:
    """The rows of one market."""
    prices = prices_of(market, config.data.manifest)
    features = load_features(market.features)
    check_dates(prices, features, market.features)
    prices = prices.loc[features.index[0] :]  # the first price rows have no features
    dates = prices.index.to_numpy().astype("datetime64[D]")
    kept = dates <= last
    count = int(kept.sum())
    if count <= config.window.warmup + config.task.horizon:
        raise UserError(f"{market.prices}: {count} rows up to {last} are too few")
    return _Rows(
        dates[kept],
        prices["close"].to_numpy(np.float64)[kept],
        daily_ranges(prices)[kept],
        features.to_numpy(np.float32)[kept],
        tuple(str(name) for name in features.columns),
        {market.name: slice(0, count)},
    )


def _joined(parts: Sequence[_Rows]) -> _Rows:
    """The rows of several markets, one after another."""
    assets, start = {}, 0
    for part in parts:
        for name, own in part.assets.items():
            assets[name] = slice(start, start + own.stop)
        start += len(part.dates)
    dates, close, ranges, features, _, _ = zip(*parts, strict=True)
    return _Rows(
        np.concatenate(dates),
        np.concatenate(close),
        np.concatenate(ranges),
        np.concatenate(features),
        parts[0].names,
        assets,
    )


def _samples(rows: _Rows, config: TrainingConfig, blocks: Sequence[str]) -> dict[str, Indices]:
    """The samples of each block: of all markets in training, of the judged ones in the others."""
    found: dict[str, list[Indices]] = {block: [] for block in blocks}
    for market in config.data.markets:
        own = rows.assets[market.name]
        split = split_samples(
            rows.dates[own], config.splits, config.window.warmup, config.task.horizon
        )
        for block in blocks if market.judged else ("train",):
            found[block].append(split[block] + own.start)
    return {block: np.concatenate(parts) for block, parts in found.items()}


def _refuse_days_outside_their_block(
    rows: _Rows, samples: Mapping[str, Indices], config: TrainingConfig
) -> None:
    """Each sample and its answer lie within the dates of its block, whatever market it is of.

    Markets share their days: a test day of one would tell training of the test days of all.
    """
    for block, days in samples.items():
        first, last = (np.datetime64(day, "D") for day in getattr(config.splits, block))
        for name, own in rows.assets.items():
            found = days[(days >= own.start) & (days < own.stop)]
            answers = np.minimum(found + config.task.horizon, own.stop - 1)
            outside = (rows.dates[found] < first) | (rows.dates[answers] > last)
            if outside.any():
                raise UserError(
                    f"splits.{block} of {name}: {int(outside.sum())} samples are of other days or "
                    f"look at them, such as {rows.dates[found[outside][0]]}; allowed: days and "
                    f"answers from {first} to {last}"
                )


def _rows_of(names: Collection[str], assets: Mapping[str, slice], rows: Indices) -> Indices:
    """Those of `rows` that belong to the named markets."""
    own = [np.arange(assets[name].start, assets[name].stop) for name in names]
    return rows[np.isin(rows, np.concatenate(own))]


def _windows(rows: _Rows, normaliser: Normaliser, config: TrainingConfig) -> WindowDataset:
    features = normaliser(torch.from_numpy(rows.features))
    return WindowDataset.joined(
        [
            WindowDataset(
                features[own],
                rows.close[own],
                context_length=config.window.context_length,
                warmup=config.window.warmup,
                threshold=config.task.threshold,
                horizon=config.task.horizon,
                direction=config.task.direction,
            )
            for own in rows.assets.values()
        ]
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


def _refuse_thin_blocks(
    assets: Mapping[str, slice],
    samples: Mapping[str, Indices],
    labels: Labels,
    config: TrainingConfig,
    trained: Collection[str],
) -> None:
    """Each market alone has enough samples of either class in each block that it belongs to."""
    splits = config.splits
    for market in config.data.markets:
        of_market = f" of {market.name}" if len(assets) > 1 else ""
        for block in samples:
            if not (market.name in trained if block == "train" else market.judged):
                continue
            days = _rows_of([market.name], assets, samples[block])
            positives = int(labels[days].sum())
            scarce = min(positives, len(days) - positives)
            if len(days) < splits.min_samples or scarce < splits.min_positives:
                raise UserError(
                    f"splits.{block}{of_market}: {len(days)} samples, {positives} of them "
                    f"positive; at least {splits.min_samples} samples and {splits.min_positives} "
                    "of either class are needed: widen the block, or lower task.threshold"
                )
