"""The runs of an experiment: the config and identity of each, and what artefacts depend on."""

import dataclasses
from pathlib import Path
from typing import Any

from scaling.config import TrainingConfig, as_dict, load_config
from scaling.digest import code_digest, features_digest
from scaling.errors import UserError
from scaling.names import EXTERNAL
from scaling.record import COMPUTING_PACKAGES, file_md5, versions_of
from scaling.registry import Registered, days_of
from scaling.run import BASELINES, UNKNOWN, Run, RunName, TrainingDays
from scaling.sizes import ModelConfig, model_config_path
from scaling.splits import Dates

# These keys cannot change a trained weight, so they are no part of what identifies a training.
NOT_TRAINING = ("thermal", "tracking", "law", "earnings", "checkpoint_minutes")
# Where these are `auto`, the machine decides, and only a training knows what it was made with.
FOUND = ("device", "precision")


def load_run(
    path: str | Path,
    param_budget: str | None = None,
    seed: int | None = None,
    *,
    days: TrainingDays,
    markets: int | None,
    origin: int | None,
) -> TrainingConfig:
    """The config of one run of an experiment; what else is given replaces the file's own."""
    config = of_fold(load_config(path, param_budget, seed, days=days), origin)
    return of_markets(config, markets)


def config_of(path: str | Path, name: RunName) -> TrainingConfig:
    """The config of the run of that name, as the experiment's file asks for it now."""
    return with_name(load_config(path), name)


def with_name(config: TrainingConfig, name: RunName) -> TrainingConfig:
    """The config with the size, the training days, markets, fold and seed of a run's name."""
    parts = {field.name: getattr(name, field.name) for field in dataclasses.fields(name)}
    budget = parts.pop("budget")
    if budget != BASELINES:
        parts["param_budget"] = budget
        model_config_path(budget, config.family)
    named = dataclasses.replace(config, **{**parts, "markets": None, "origin": config.origin})
    return of_markets(of_fold(named, name.origin), name.markets)


def of_markets(config: TrainingConfig, markets: int | None) -> TrainingConfig:
    """The config of a training on some of the markets; a number that is not some is a `UserError`.

    All of them are named by None alone, so that no run has two names.
    """
    several = len(config.data.markets)
    if markets is not None and not 0 < markets < several:
        allowed = f"1 to {several - 1}, or all by none" if several > 1 else "none, as it has one"
        raise UserError(f"markets: got {markets}; allowed for this experiment: {allowed}")
    if markets and (aside := [market.name for market in config.data.markets if not market.judged]):
        raise UserError(
            f"markets: got {markets}, but {aside[0]} is not judged, and a draw might have none "
            "that is; allowed: an experiment whose `judged` are all its assets"
        )
    return dataclasses.replace(config, markets=markets)


def of_fold(config: TrainingConfig, origin: int | None) -> TrainingConfig:
    """The config of one fold of a walk; a plain experiment has no origin, and stays as it is.

    A name without an origin in a walk, one with an origin in a plain experiment, and an origin of
    no fold are a `UserError`.
    """
    walk = config.walk_forward
    if walk is None:
        if origin is not None:
            raise UserError(
                f"from{origin}: the experiment does not walk forward; allowed: runs without an "
                f"origin, such as {config.param_budget}"
            )
        return config
    if origin not in (allowed := origins_of(config)):
        found = "no origin" if origin is None else f"from{origin}"
        waiting = "" if (why := left_out(config)) is None else f" ({why})"
        raise UserError(
            f"{found}: the experiment walks forward, and each run is of one of its folds; allowed: "
            f"{', '.join(f'from{year}' for year in allowed)}, as in {config.param_budget}."
            f"from{allowed[-1]}.ckpt or --origin {allowed[-1]}{waiting}"
        )
    return dataclasses.replace(config, origin=origin, splits=walk.splits(origin))


def origins_of(config: TrainingConfig) -> list[int]:
    """The origins of an experiment's folds, as far as the registered prices reach.

    Empty if it does not walk forward. Raises `UserError` if the prices begin after the training
    block of the first fold, or end before its test block.
    """
    walk = config.walk_forward
    if walk is None:
        return []
    first, last = _registered_days(config)
    begins = walk.splits(walk.first_test).train[0].year
    found = walk.origins(last)
    if walk.train_years != "all" and begins < first.year:
        earliest = walk.first_test + first.year - begins
        raise UserError(
            f"walk_forward.first_test: got {walk.first_test}, and training from {begins} on, but "
            f"the prices begin on {first}; allowed: {earliest} or later, or train_years: all"
        )
    if not found:
        raise UserError(
            f"walk_forward.first_test: got {walk.first_test}, but the prices end on {last}; "
            "allowed: a year that they hold whole"
        )
    return found


def left_out(config: TrainingConfig) -> str | None:
    """Why the newest prices of a walk are in no fold, if they are not."""
    if config.walk_forward is None:
        return None
    last = _registered_days(config).last
    if (tested := judged_block(config)[1]) >= last:
        return None
    return (
        f"{tested.year + 1} is no origin yet: the prices end on {last}, and a fold needs the whole "
        "first year of its test block"
    )


def _registered_days(config: TrainingConfig) -> Registered:
    """The first day of any market, and the last day that all judged markets have."""
    days = {market: days_of(market.prices, config.data.manifest) for market in config.data.markets}
    last = min(own.last for market, own in days.items() if market.judged)
    return Registered(min(own.first for own in days.values()), last)


def judged_block(config: TrainingConfig) -> Dates:
    """The first and the last day of the test block; of a walk, of those of its folds joined."""
    if config.walk_forward is None:
        return config.splits.test
    folds = [config.walk_forward.splits(origin) for origin in origins_of(config)]
    return folds[0].test[0], folds[-1].test[1]


def name_of(config: TrainingConfig) -> RunName:
    """The name of the run that a config asks for; a walk is no run before it has an origin."""
    of_fold(config, config.origin)
    others = [field.name for field in dataclasses.fields(RunName) if field.name != "budget"]
    return RunName(budget=config.param_budget, **{key: getattr(config, key) for key in others})


def newest_of(config: TrainingConfig) -> RunName:
    """The name of the run that an experiment asks for; of a walk, of the one of its newest fold."""
    origins = origins_of(config)
    return name_of(of_fold(config, origins[-1]) if origins else config)


def run_of(
    config: TrainingConfig, model: ModelConfig, experiment: str, entry: str = "train"
) -> Run:
    """The run that is asked for, as far as it is known before its data are read.

    `entry` is the command that makes it, whose code counts.
    """
    named = {field.name for field in dataclasses.fields(RunName)} | {"param_budget"}
    asked = {k: v for k, v in as_dict(config).items() if k not in (*NOT_TRAINING, *named)}
    for others in ("recipes", "walk_forward"):  # of other sizes and folds
        del asked[others]
    asked["optimiser"] = as_dict(config.recipe)
    found = {key: None if (value := asked.pop(key)) == "auto" else value for key in FOUND}
    return Run(
        experiment=experiment,
        name=name_of(config),
        settings=asked,
        model=as_dict(model),
        code=code_digest(entry, family=config.family),
        versions=versions_of(COMPUTING_PACKAGES),
        **UNKNOWN | found,
    )


def checked_by(config: TrainingConfig) -> dict[str, Any]:
    """What the check of the data depends on; that of a walk counts the events of each fold, too."""
    asked = as_dict(config)
    counted = ("walk_forward", "task", "window") if config.walk_forward else ()
    return {"code": code_digest("check_data"), **{key: asked[key] for key in ("data", *counted)}}


def judged_by(config: TrainingConfig) -> dict[str, Any]:
    """What an evaluation depends on, besides its run; its checks build the features again."""
    tier = None if config.data.tier == EXTERNAL else features_digest(config.data.tier)
    return {"code": code_digest("evaluate", family=config.family), "tier": tier}


def controlled_by(config: TrainingConfig) -> dict[str, Any]:
    """What a control on shuffled labels depends on, besides its run."""
    return {"code": code_digest("shuffled_control", family=config.family)}


def aged_by(config: TrainingConfig) -> dict[str, Any]:
    """What the ageing of a walk's networks depends on, besides its runs."""
    return {"code": code_digest("age", family=config.family), "law": as_dict(config.law)}


def fitted_by(config: TrainingConfig, experiments: int) -> dict[str, Any]:
    """What a law depends on, besides its runs, in a grid of so many experiments."""
    return {
        "experiments": experiments,
        "code": code_digest("fit"),
        "law": as_dict(config.law),
        "transfer": file_md5(config.law.transfer) if config.law.transfer else None,
        "earnings": as_dict(config.earnings),
    }


def baselines_run(config: TrainingConfig, experiment: str) -> Run:
    """What baselines depend on; the seed only where it draws the training days or the markets."""
    asked = as_dict(config)
    seed = config.seed if config.days.draw == "blocks" or config.markets else 0
    return Run(
        experiment=experiment,
        name=dataclasses.replace(name_of(config), budget=BASELINES, seed=seed),
        settings={section: asked[section] for section in ("data", "task", "window", "splits")},
        model={},
        code=code_digest("judge_baselines"),
        versions={},
        **UNKNOWN,
    )
