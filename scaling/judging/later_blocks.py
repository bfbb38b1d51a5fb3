"""The networks of a fold judged on its own test block and on all after it, as they were trained."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import NamedTuple

import numpy as np

from scaling.config import TrainingConfig
from scaling.data.dataset import BEFORE_TEST, Dates, load_study
from scaling.errors import UserError
from scaling.judging.evaluation import (
    Trained,
    daily_losses,
    load_weights,
    refuse_other_normaliser,
)
from scaling.judging.scores import BLOCKS
from scaling.machine.device import choose_device, choose_precision
from scaling.metrics import Array
from scaling.run import Run, refuse
from scaling.sizes import load_model_config
from scaling.training.model import build_model
from scaling.training.step import predict


class Later(NamedTuple):
    """Daily losses of one fold from its own test block on, of several markets their mean."""

    dates: Dates
    losses: Array
    """[seeds, days], nats."""
    base: Array
    """Of the base rate of the fold's own training days, [days]."""


def judge_later(networks: Sequence[Trained], config: TrainingConfig, last: date) -> Later:
    """Judge the networks of one fold on the days from its test block up to `last`.

    `config` is that of the fold. Its normaliser and base rate are those of its own training days,
    as on the day it was trained. Raises `UserError` for a network that has seen a day that it is
    judged on, and for one of other labels or of another normaliser.
    """
    splits = replace(config.splits, test=(config.splits.test[0], last))
    until_last = replace(config, walk_forward=None, origin=None, splits=splits)
    study = load_study(until_last, ("train", *BLOCKS))
    device = choose_device(config.device)
    shape = load_model_config(networks[0].run.name.budget, config.family)
    model = build_model(shape, config.window, len(study.feature_names)).to(device)
    dataset, days = study.dataset.to(device), study.samples["test"]
    losses = []
    for path, content, _, run in networks:
        refuse_look_ahead(run, study.dates[days].min().astype(object))
        refuse(path, run.difference(replace(run, labels=study.label_hash)))
        refuse_other_normaliser(content, study, path)
        load_weights(model, content["weights"], path)
        precision = choose_precision(str(run.precision), device)
        losses.append(daily_losses(study, predict(model, dataset, days, device, precision), "test"))
    base = daily_losses(study, np.full(len(days), study.train_base_rate), "test")
    return Later(np.unique(study.dates[days]), np.stack(losses), base)


def refuse_look_ahead(run: Run, judged: date) -> None:
    """Raise `UserError` if the network was trained or chosen on days from `judged` on."""
    splits = run.settings["splits"]
    seen = max(date.fromisoformat(splits[block][1]) for block in BEFORE_TEST)
    if seen >= judged:
        raise UserError(
            f"{run.name}: has seen the days up to {seen}, so it cannot be judged from {judged} on; "
            "allowed: networks whose training and validation end before the first judged day"
        )
