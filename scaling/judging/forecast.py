"""Forecasts of trained networks for the latest registered days, whose answers nobody knows yet.

Newer prices than those of the training are allowed, because a forecast is about new days. The rows
that a network was trained and chosen on must be the same as then: their labels are compared by
hash, their features by the normaliser, and the network's loss on validation with its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from scaling import config as configs
from scaling import identities
from scaling.data.dataset import Dates, Study, load_every_day, load_study
from scaling.data.features import verified_data
from scaling.errors import UserError
from scaling.identities import FOUND
from scaling.judging import evaluation
from scaling.judging.checks import train_evaluate_parity
from scaling.judging.evaluation import Trained, load_trained
from scaling.judging.identity import asked_now
from scaling.machine.device import choose_device, choose_precision, tune
from scaling.metrics import Array, Recalibration, fit_recalibration, log_loss, log_loss_skill
from scaling.names import EXTERNAL
from scaling.record import provenance
from scaling.run import MACHINE, Run, refuse
from scaling.sizes import load_model_config
from scaling.training.model import build_model
from scaling.training.step import predict

# Relative. A change of one cent in one close of the training rows moves a mean or a deviation by
# 4e-6 or more (tried on SPY), and rounding to fp32 by 1e-7.
SAME_NORMALISER = 1e-6
# A network of older code forecasts as well as it did. Prices may have newer days, as long as the
# rows of the training are the same, which are compared on their own.
OLDER_CODE = ("code", *MACHINE)
OLDER_PRICES = ("prices", "features")
OF_ONE_ENSEMBLE = ("seed", *FOUND, "micro_batch", *OLDER_CODE, *OLDER_PRICES)


class _Seen(NamedTuple):
    """What one network says, and what it was asked: validation [samples], the newest days."""

    y: npt.NDArray[np.int8]
    validation: Array
    newest: dict[str, tuple[Dates, Array]]
    """Of each judged market the dates of every registered row, and the last days' [last]."""
    base_rate: float


class OfMarket(NamedTuple):
    """The forecasts for one market."""

    dates: Dates
    """Of every registered row; the forecasts are made at the closes of the last ones."""
    each: Array
    """Probabilities [seeds, days]."""


@dataclass(frozen=True)
class Forecast:
    """The forecasts of one network, or of an ensemble of seeds, for the last registered days."""

    experiment: str
    budget: str
    seeds: list[int]
    networks: list[Run]
    config: configs.TrainingConfig
    prices_md5: str
    newer_prices: bool
    """The prices are not those of the training, but the same with days added."""
    base_rate: float
    """Share of positives in the training block."""
    validation_log_loss: float
    """Of the ensemble, in nats."""
    validation_skill: float
    recalibration: Recalibration
    """Platt scaling of the ensemble, fitted on validation."""
    markets: dict[str, OfMarket]
    """Of each judged market."""

    def rows(self) -> list[dict[str, Any]]:
        """One JSON-ready row for each market and day, the latest day last.

        It names its `asset` where several markets are judged.
        """
        return [row for name in self.markets for row in self._rows_of(name)]

    def _rows_of(self, name: str) -> list[dict[str, Any]]:
        dates, each = self.markets[name]
        mean = each.mean(axis=0)
        recalibrated = self.recalibration(mean)
        first = len(dates) - len(mean)
        chosen_until = np.datetime64(self.config.splits.validation[1], "D")
        return [
            {
                **({"asset": name} if len(self.markets) > 1 else {}),
                "close_of": str(dates[first + day]),
                "about": days_asked_about(dates, first + day, self.config.task.horizon),
                "probability": float(mean[day]),
                "recalibrated": float(recalibrated[day]),
                "base_rate": self.base_rate,
                "answer_seen_in_training": bool(dates[first + day] <= chosen_until),
                **{
                    f"seed_{seed}": float(p)
                    for seed, p in zip(self.seeds, each[:, day], strict=True)
                },
            }
            for day in range(len(mean))
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything that is known of the forecasts, with what made them."""
        return {
            "kind": "forecast",
            "experiment": self.experiment,
            "budget": self.budget,
            "seeds": self.seeds,
            "networks": [run.as_json() for run in self.networks],
            "question": configs.as_dict(self.config.task),
            "base_rate": self.base_rate,
            "validation": {
                "log_loss": self.validation_log_loss,
                "log_loss_skill": self.validation_skill,
                "recalibration": self.recalibration._asdict(),
            },
            "prices": ", ".join(str(market.prices) for market in judged_markets(self.config)),
            "prices_md5": self.prices_md5,
            "features": ", ".join(str(market.features) for market in judged_markets(self.config)),
            "look_ahead_could_be_checked": self.config.data.tier != EXTERNAL,
            "newer_prices_than_in_training": self.newer_prices,
            "days": self.rows(),
            **provenance(),
        }

    def as_lines(self) -> list[str]:
        """Two lines about the forecaster, one about unchecked features, one line for each row."""
        seeds = " and ".join(map(str, self.seeds))
        who = f"seed {seeds}" if len(self.seeds) == 1 else f"the mean of seeds {seeds}"
        origin = self.config.origin
        fold = "" if origin is None else f", the fold that is tested from {origin} on"
        slope, intercept = self.recalibration
        lines = [
            f"{self.budget} of {self.experiment}{fold}, {who}: the probability that "
            f"{self.config.task.question()}",
            f"on validation: log-loss skill {100 * self.validation_skill:.1f} % over the base "
            f"rate; recalibrated there with slope {slope:.2f} and intercept {intercept:+.2f}",
        ]
        if self.config.data.tier == EXTERNAL:
            tables = ", ".join(str(market.features) for market in judged_markets(self.config))
            lines.append(
                f"the features were made elsewhere ({tables}): whether they see the future could "
                "not be checked"
            )
        for row in self.rows():
            seen = " (a day of training or validation)"
            lines.append(
                f"{row['asset'] + ', ' if 'asset' in row else ''}"
                f"at the close of {row['close_of']}, for {row['about']}: "
                f"{100 * row['probability']:.1f} %, recalibrated {100 * row['recalibrated']:.1f} "
                f"%, base rate {100 * row['base_rate']:.1f} %"
                f"{seen if row['answer_seen_in_training'] else ''}"
            )
        return lines


def read_networks(paths: Sequence[Path]) -> list[Trained]:
    """Read the checkpoints of one size of one experiment, each with a seed of its own.

    Raises `UserError` for a file that is not a sound checkpoint of a finished training, and for
    checkpoints that are no ensemble.
    """
    networks = [load_trained(path) for path in paths]
    first = networks[0]
    for other in networks[1:]:
        refuse(
            other.path,
            other.run.difference(first.run, OF_ONE_ENSEMBLE),
            f"an ensemble is made of seeds of one training: give checkpoints such as {first.path}, "
            "or forecast with one at a time",
        )
    seeds = [network.run.name.seed for network in networks]
    if twice := {seed for seed in seeds if seeds.count(seed) > 1}:
        raise UserError(
            f"--checkpoint: seed {min(twice)} is given twice; give each seed of "
            f"{first.run.name.budget} once"
        )
    return sorted(networks, key=lambda network: network.run.name.seed)


def make_forecast(networks: Sequence[Trained], config_path: Path, last: int) -> Forecast:
    """Forecast at the closes of the `last` registered days.

    `config_path` is the experiment that the networks were trained for. Raises `UserError` for a
    config, prices or features that the networks were not trained for, and for more days than
    there are.
    """
    run = networks[0].run
    config = identities.config_of(config_path, run.name)
    found = [_ask(network, config_path, last) for network in networks]
    prices, _ = verified_data(config)
    y, base_rate = found[0].y, found[0].base_rate
    validation = np.mean([each.validation for each in found], axis=0)
    return Forecast(
        experiment=run.experiment,
        budget=run.name.budget,
        seeds=[network.run.name.seed for network in networks],
        networks=[network.run for network in networks],
        config=config,
        prices_md5=prices,
        newer_prices=run.prices != prices,
        base_rate=base_rate,
        validation_log_loss=log_loss(y, validation),
        validation_skill=log_loss_skill(y, validation, base_rate),
        recalibration=fit_recalibration(y, validation),
        markets={
            name: OfMarket(dates, np.stack([each.newest[name][1] for each in found]))
            for name, (dates, _) in found[0].newest.items()
        },
    )


def judged_markets(config: configs.TrainingConfig) -> list[configs.Market]:
    """The markets that are forecast."""
    return [market for market in config.data.markets if market.judged]


def days_asked_about(dates: Dates, row: int, horizon: int) -> str:
    """The days whose closes decide a forecast that is made at the close of `dates[row]`.

    Days after the last registered one have no date yet: whether the exchange opens is not known.
    """
    known = dates[row + 1 : row + 1 + horizon]
    unknown = horizon - len(known)
    named = " to ".join(dict.fromkeys(str(day) for day in known[[0, -1]])) if len(known) else ""
    if not unknown:
        return named
    after = f"the {unknown} trading days after" if unknown > 1 else "the trading day after"
    return f"{named} and {after} it" if named else f"{after} {dates[row]}"


def _ask(network: Trained, config_path: Path, last: int) -> _Seen:
    """One network's forecasts on validation and on the last days, once all its checks pass."""
    path, content, record, run = network
    config = identities.config_of(config_path, run.name)
    asked = asked_now(config_path, run.name)
    newer = OLDER_PRICES if run.prices != asked.prices else ()
    refuse(path, run.difference(asked, ("experiment", *OLDER_CODE, *newer)))
    study = load_study(config)
    _refuse_other_rows(network, study)
    every_day = {
        market.name: load_every_day(market, config, study.normaliser)
        for market in judged_markets(config)
    }
    allowed = min(len(dates) for _, dates in every_day.values()) - config.window.warmup
    if not 1 <= last <= allowed:
        raise UserError(f"--last: got {last}; allowed: 1 to {allowed}, the days with a window")

    device = choose_device(config.device)
    precision = choose_precision(str(run.precision), device)
    tune(device)
    shape = load_model_config(run.name.budget, config.family)
    model = build_model(shape, config.window, len(study.feature_names)).to(device)
    evaluation.load_weights(model, content["weights"], path)
    days = study.samples["validation"]
    validation = predict(model, study.dataset.to(device), days, device, precision)
    y = study.labels("validation")
    same = train_evaluate_parity(record["validation"]["log_loss"], y, validation, precision)
    if not same["passed"]:
        raise UserError(f"{path}: {same['found']}; {_changed(path)}")
    newest = {}
    for name, (dataset, dates) in every_day.items():
        rows = np.arange(len(dates) - last, len(dates))
        newest[name] = dates, predict(model, dataset.to(device), rows, device, precision)
    return _Seen(y, validation, newest, study.train_base_rate)


def _refuse_other_rows(network: Trained, study: Study) -> None:
    """The rows up to the end of validation are those of the training, in whichever files."""
    path, content, record, run = network
    if record["feature_names"] != list(study.feature_names):
        raise UserError(f"{path}: trained on features of other names; {_changed(path)}")
    if run.labels != study.label_hash:
        raise UserError(f"{path}: trained on other labels or days; {_changed(path)}")
    stored, fitted = content["normaliser"], study.normaliser
    for name in ("mean", "std"):
        if not torch.allclose(stored[name], getattr(fitted, name), rtol=SAME_NORMALISER, atol=0):
            raise UserError(f"{path}: trained on other feature values; {_changed(path)}")


def _changed(path: Path) -> str:
    return (
        "prices may only have days added after those of training and validation: restore the days "
        f"that changed, or train it again: snakemake --force {path}"
    )
