"""Validity checks that run in every study; each catches one known mistake.

A check is a dict with `name`, `passed`, `found` and `allowed` as text, and `meaning`, the
consequence of a failure. A failed check never stops a run; the report shows it first. `passed` is
None for a check that could not be made, or that decided nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from scaling.config import Market, TaskConfig, TrainingConfig
from scaling.data.dataset import Labels, Study
from scaling.data.features import build_features, load_features
from scaling.data.manifest import facts_of
from scaling.data.plausibility import summarise, unexplained
from scaling.data.prices import daily_ranges, prices_of
from scaling.errors import UserError
from scaling.law.bootstrap import Settings
from scaling.law.effects import estimate_effects
from scaling.metrics import Array, log_loss, logits_of
from scaling.names import EXTERNAL, tier_named
from scaling.run import Run
from scaling.sizes import BUDGET_TOLERANCE, budget_parameters
from scaling.splits import SplitConfig

Check = dict[str, Any]
Build = Callable[[pd.DataFrame], pd.DataFrame]

# In train standard deviations. Only gross shifts are mistakes: on SPY the largest is 0.9 (log ATR,
# because the test years are calmer), and coping with it is part of the question. An average in
# dollars moves by 4 to 5, a wrong unit by more. Beyond 3, training had almost no rows like it.
LARGEST_SHIFT = 3.0
# Of the train standard deviation. SPY stays within 0.4 to 1.1. A feature that stopped moving has
# 0, and a change of unit gives 10 or more.
SPREAD_RATIO = (0.1, 10.0)
# A forecast whose logits have standard deviation s can earn a skill of at most about
# s^2 q (1 - q) / 2H. For s = 0.05 and q = 0.15 that is 0.04 %, far below what a study can detect.
# The logits of logistic regression have a standard deviation of about 1.
SMALLEST_LOGIT_SPREAD = 0.05
# Difference of log-loss in nats for the same weights on the same rows. Another batch or device
# changes it by 1e-6 in fp32 and by 1e-3 in bf16. A second sigmoid changes it by 0.2.
PARITY = {"fp32": 1e-4, "bf16": 5e-3}
# Of what a study calls skill, 5 % and more, this is a tenth. A network whose labels were shuffled
# may have some of it without a leak: it forecasts another constant than the training base rate, and
# the validation years may be calmer, too.
LARGEST_SKILL_OF_NOISE = 0.005
FEATURES_SEE_NO_FUTURE = "features do not see the future"
# Days spread over the whole file at which the future is cut off.
TRUNCATIONS = 25


def check(name: str, passed: bool | None, found: str, allowed: str, meaning: str) -> Check:
    """One result, JSON-ready."""
    return {
        "name": name,
        "passed": None if passed is None else bool(passed),
        "found": found,
        "allowed": allowed,
        "meaning": meaning,
    }


def enough_samples(labels: dict[str, Labels], splits: SplitConfig) -> Check:
    """Each block has enough samples and enough of its rarer class; `labels` maps block to [n]."""
    counts = {name: (len(y), int(np.sum(y))) for name, y in labels.items()}
    return check(
        "enough samples",
        all(
            n >= splits.min_samples and min(positive, n - positive) >= splits.min_positives
            for n, positive in counts.values()
        ),
        "; ".join(f"{name} {n:,} with {p:,} positive" for name, (n, p) in counts.items()),
        f"{splits.min_samples} samples and {splits.min_positives} of either class in each block",
        "there are too few days to tell a model from luck, so no conclusion holds",
    )


def drift_table(
    features: Mapping[str, npt.ArrayLike], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Per feature the mean shift and spread of validation and test, in train standard deviations.

    `features` maps train, validation and test to raw rows [n, channels]. Raises UserError for a
    feature that is constant in training.
    """
    blocks = {name: np.asarray(rows, np.float64) for name, rows in features.items()}
    mean, std = blocks["train"].mean(axis=0), blocks["train"].std(axis=0)
    if not (std > 0).all():
        flat = [name for name, s in zip(names, std, strict=True) if not s > 0]
        raise UserError(f"constant in the training rows: {', '.join(flat)}; drop or mend them")
    table = [
        {"feature": name, "train_mean": float(mean[i]), "train_std": float(std[i])}
        for i, name in enumerate(names)
    ]
    for block in ("validation", "test"):
        shift = (blocks[block].mean(axis=0) - mean) / std
        ratio = blocks[block].std(axis=0) / std
        for i, row in enumerate(table):
            row |= {f"{block}_shift": float(shift[i]), f"{block}_spread": float(ratio[i])}
    return table


def no_gross_drift(table: Sequence[dict[str, Any]]) -> Check:
    """Catches price levels, changed units and dead columns, and lets calm and wild years pass."""
    low, high = SPREAD_RATIO
    shifts = {
        row["feature"]: max(abs(row["validation_shift"]), abs(row["test_shift"])) for row in table
    }
    ratios = [row[f"{block}_spread"] for row in table for block in ("validation", "test")]
    moved = [
        row["feature"]
        for row in table
        if not shifts[row["feature"]] <= LARGEST_SHIFT
        or not all(low <= row[f"{block}_spread"] <= high for block in ("validation", "test"))
    ]
    largest = max(shifts, key=lambda name: shifts[name])
    found = (
        f"largest shift {shifts[largest]:.2f} train standard deviations ({largest}), "
        f"spread {min(ratios):.2f} to {max(ratios):.2f} of train's"
    )
    return check(
        "no gross drift of features",
        not moved,
        found + (f"; moved: {', '.join(moved)}" if moved else ""),
        f"shift up to {LARGEST_SHIFT:g}, spread {low:g} to {high:g}",
        "the test days lie outside what training saw, so the forecasts there are extrapolation",
    )


def predictions_vary(p: npt.ArrayLike) -> Check:
    """The logits of `p` [n] vary from day to day; a constant means the class prior was learnt."""
    spread = float(np.std(logits_of(p)))
    return check(
        "predictions vary",
        spread >= SMALLEST_LOGIT_SPREAD,
        f"standard deviation of the logits {spread:.3f}",
        f"at least {SMALLEST_LOGIT_SPREAD:g}",
        "the network predicts one number every day, so its loss measures the class prior",
    )


def features_ignore_the_future(prices: pd.DataFrame, features: pd.DataFrame, build: Build) -> Check:
    """Features rebuilt from prices cut off at a day are the same on that day, bit for bit.

    `features` is the table that models read, and `build` made it from `prices`.
    """
    dropped = len(prices) - len(features)
    days = np.linspace(dropped, len(prices) - 1, TRUNCATIONS).astype(int)
    # The last seven days cover every weekday: a feature that sees the whole week before it has
    # ended differs on every day but the last of a week.
    days = np.unique(np.concatenate([days, np.arange(len(prices) - 7, len(prices))]))
    changed: dict[str, str] = {}
    for day in days:
        cut = build(prices.iloc[: day + 1]).iloc[-1]
        whole = features.loc[prices.index[day]]
        for name in features.columns[(cut.to_numpy() != whole.to_numpy())]:
            changed.setdefault(str(name), str(prices.index[day].date()))
    return check(
        FEATURES_SEE_NO_FUTURE,
        not changed,
        ", ".join(f"{name} (first on {day})" for name, day in changed.items())
        or f"no feature changes on {len(days)} days when all later prices are removed",
        "the same features, bit for bit",
        "the features leak the future, so every score is too good",
    )


def unknown_look_ahead(features: Path) -> Check:
    """The check that cannot be made of a table that was made elsewhere."""
    return check(
        FEATURES_SEE_NO_FUTURE,
        None,
        f"{features} was made elsewhere, so it cannot be built again from prices that end earlier",
        "the same features, bit for bit",
        "if the features leak the future, every score is too good, and nothing here would show it",
    )


def windows_ignore_the_future(study: Study, table: pd.DataFrame, build: Build | None) -> Check:
    """What a model is given for a day equals what prices cut off at that day give, bit for bit.

    The whole window is compared, after loading, joining and normalising, for a sample of days of
    every block. A shift of the loaded features, or a window that ends a day late, shows here and
    not in the feature file. `build` makes features of the prices in `table`. Without it the `table`
    holds features that were made elsewhere: what its rows know of later days cannot be found.
    """
    name, expected = "models do not see the future", "those built from prices that end on their day"
    meaning = "models read days that have not happened yet, or other days than they are asked about"
    if build is None:
        name, expected = "windows end on their day", "the table's rows up to their day"
        meaning = "models read other days of the table than they are asked about"
    every = np.concatenate(list(study.samples.values()))
    days = every[np.linspace(0, len(every) - 1, TRUNCATIONS).astype(int)]
    length = study.dataset.context_length
    wrong: dict[str, list[str]] = {}
    for day in days:
        today = pd.Timestamp(study.dates[day])
        known = build(table.loc[:today]) if build else table.loc[:today]
        rows = known.iloc[-length:].to_numpy(np.float32, copy=True)
        right = study.normaliser(torch.from_numpy(rows))
        given = study.dataset.batch(torch.tensor([day]))[0][0].cpu()
        differs = (given != right).any(dim=0).numpy()
        if differs.any():
            wrong[str(today.date())] = list(np.array(study.feature_names)[differs])
    first = next(iter(wrong), "")
    return check(
        name,
        not wrong,
        f"{len(wrong)} of {len(days)} windows differ, first on {first} in {', '.join(wrong[first])}"
        if wrong
        else f"{len(days)} windows equal {expected}",
        "the same window, bit for bit",
        meaning,
    )


def moves_are_their_days(study: Study, market: str, prices: pd.DataFrame) -> Check:
    """The closes and ranges that volatility baselines see are those of the registered prices."""
    rows = study.assets[market]
    days = pd.DatetimeIndex(study.dates[rows])
    right = pd.DataFrame({"close": prices["close"], "range": daily_ranges(prices)}).loc[days]
    given = pd.DataFrame({"close": study.close[rows], "range": study.ranges[rows]}, index=days)
    wrong = (given != right).sum()
    return check(
        "closes and ranges are their day's",
        not wrong.any(),
        "; ".join(f"{name} differs on {n:,} days" for name, n in wrong.items() if n)
        or f"{len(days):,} days equal the registered prices",
        "the same numbers, bit for bit",
        "volatility baselines read other days than they are asked about",
    )


def trained_as_asked(record: dict[str, Any]) -> Check:
    """The loop's learning rate, weight decay and epochs were those that were asked for."""
    used = record["used"]
    settings = Run.of(record, record["run"]).settings["optimiser"]
    asked = {name: settings[name] for name in used}
    other = [name for name, value in asked.items() if not np.isclose(used[name], value, rtol=1e-9)]
    return check(
        "trained as asked",
        not other,
        "; ".join(f"{name.replace('_', ' ')} {used[name]:g}" for name in asked),
        "; ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in asked.items()),
        "a setting of the experiment was ignored, so what it says of the recipe is not true",
    )


def prices_are_plausible(prices: pd.DataFrame, entry: Mapping[str, Any]) -> Check:
    """The search for implausible prices that `fetch` makes finds nothing on the study's prices.

    `entry` is the prices' entry in the manifest, which allows true findings with a reason.
    """
    found = unexplained(prices, entry)
    known = len(entry.get("allowed", []))
    return check(
        "prices are plausible",
        not found,
        summarise(found) or f"nothing beyond the {known} cases that the manifest explains",
        "nothing that the manifest does not explain",
        "some prices are not the market's, so whatever was learned from them is in doubt",
    )


def labels_from_raw_closes(close: npt.ArrayLike, labels: npt.ArrayLike, task: TaskConfig) -> Check:
    """The labels that models train on equal those computed here, day by day, from raw closes.

    `close` [rows] comes from the price file, `labels` is [rows - horizon]. The library's own label
    function is not used here, so a mistake in it shows too.
    """
    prices = [float(c) for c in np.asarray(close)]
    asked = [
        int(_is_asked_for(now, prices[t + 1 : t + 1 + task.horizon], task))
        for t, now in enumerate(prices[: len(prices) - task.horizon])
    ]
    given = np.asarray(labels)
    if len(given) != len(asked):
        found, passed = f"{len(given):,} labels for {len(asked):,} days", False
    else:
        wrong = int(np.sum(given != np.asarray(asked)))
        found, passed = f"{wrong:,} of {len(asked):,} labels differ", wrong == 0
    return check(
        "labels come from raw closes",
        passed,
        found,
        f"none of those to the question whether {task.question()}",
        "the models answered another question, of another horizon or of normalised closes",
    )


def _is_asked_for(now: float, following: Sequence[float], task: TaskConfig) -> bool:
    """Whether the closes that follow a close are what the task asks for."""
    up = any(later >= now * (1 + task.threshold) for later in following)
    down = any(later <= now * (1 - task.threshold) for later in following)
    return {"up": up, "down": down, "either": up or down}[task.direction]


def counted_parameters(budget: str, parameters: int) -> Check:
    """The number of trained weights is close to the label that names the run."""
    label = budget_parameters(budget)
    return check(
        "parameters match the budget",
        abs(parameters - label) <= BUDGET_TOLERANCE * label,
        f"{parameters:,} counted",
        f"{budget} within {100 * BUDGET_TOLERANCE:g} %",
        "the label is wrong, and a ladder of wrong labels is not a ladder of sizes",
    )


def train_evaluate_parity(
    recorded: float, y: npt.ArrayLike, p: npt.ArrayLike, precision: str
) -> Check:
    """Evaluation finds the validation log-loss that training recorded for the same rows."""
    found = log_loss(y, p)
    return check(
        "training and evaluation agree",
        abs(found - recorded) <= PARITY[precision],
        f"validation log-loss {found:.6f}, in training {recorded:.6f}",
        f"a difference up to {PARITY[precision]:g} nats ({precision})",
        "training and evaluation differ in the model, its weights or the rows they read",
    )


def shuffled_labels_teach_nothing(losses: Array, base: Array, settings: Settings) -> Check:
    """Networks trained on permuted labels are shown to have hardly any validation skill.

    `losses` [permutations, days] are theirs, `base` [days] those of the base rate, in nats. Skill
    must be shown to be small, or the noisiest control would pass most easily: its one-sided 95 %
    bound over days and permutations lies below LARGEST_SKILL_OF_NOISE. It fails if skill is
    certain instead, and is inconclusive otherwise. Permutations are resampled as seeds are, because
    a network fitted to noise leans on volatility one way or the other, so a single one may have
    skill by luck however many days judge it.
    """
    effect = estimate_effects([losses], np.ones((1, 1)), settings, minus=base[None]).effects[0]
    ends = np.array([effect.interval90, effect.t_interval90])
    low, high = -ends.max() / base.mean(), -ends.min() / base.mean()
    small = bool(high < LARGEST_SKILL_OF_NOISE)
    passed = small if small or effect.side < 0 else None
    found = (
        f"mean skill {-100 * effect.estimate / base.mean():.2f} %, one-sided 95 % bounds "
        f"{100 * low:.2f} and {100 * high:.2f} %, over {len(losses)} permutations and "
        f"{losses.shape[1]:,} days"
    )
    most = f"{100 * LARGEST_SKILL_OF_NOISE:g} %"
    return check(
        "shuffled labels teach nothing",
        passed,
        f"inconclusive: {found}" if passed is None else found,
        f"an upper bound below {most}",
        "the pipeline has skill without labels to learn from, so the answer leaks in somewhere"
        if passed is False
        else f"a leak that is worth more than {most} of skill would show here"
        if passed
        else "the control is too noisy to tell a small leak from none",
    )


def study_checks(study: Study, config: TrainingConfig) -> list[Check]:
    """The checks of data and labels, which all models of an experiment share.

    `study` holds all three blocks. With several markets, a check of one market bears its name.
    """
    raw = {block: study.raw_features[days] for block, days in study.samples.items()}
    found = [_market_checks(study, market, config) for market in config.data.markets]
    if len(found) > 1:
        for market, own in zip(config.data.markets, found, strict=True):
            for item in own:
                item["name"] += f" ({market.name})"
    return [
        *(plausible for plausible, *_ in found),
        enough_samples({block: study.labels(block) for block in study.samples}, config.splits),
        no_gross_drift(drift_table(raw, study.feature_names)),
        *(item for _, *others in found for item in others),
    ]


def _market_checks(study: Study, market: Market, config: TrainingConfig) -> list[Check]:
    """The checks of one market's prices, features, windows and labels."""
    prices, features = prices_of(market, config.data.manifest), load_features(market.features)
    rows = study.assets[market.name]
    close = prices.loc[features.index[0] : pd.Timestamp(study.dates[rows.stop - 1]), "close"]
    labels = study.dataset.labels[rows.start : rows.stop - config.task.horizon]
    facts = facts_of(market.prices, config.data.manifest)
    return [
        prices_are_plausible(prices, facts),
        *_look_ahead_checks(study.of([market.name]), market, facts["calendar"], prices, features),
        moves_are_their_days(study, market.name, prices),
        labels_from_raw_closes(close.to_numpy(), labels.cpu().numpy(), config.task),
    ]


def _look_ahead_checks(
    study: Study, market: Market, calendar: str, prices: pd.DataFrame, features: pd.DataFrame
) -> list[Check]:
    """Whether features and windows know later days; of a table made elsewhere only windows tell."""
    tier = tier_named(market.features)
    if tier == EXTERNAL:
        return [
            unknown_look_ahead(market.features),
            windows_ignore_the_future(study, features, None),
        ]
    build = partial(build_features, tier=tier, calendar=calendar)
    return [
        features_ignore_the_future(prices, features, build),
        windows_ignore_the_future(study, prices, build),
    ]


def model_checks(
    record: dict[str, Any],
    validation: tuple[npt.ArrayLike, npt.ArrayLike],
    test_probabilities: npt.ArrayLike,
    precision: str,
) -> list[Check]:
    """The checks of one trained model.

    `record` is its run record, `validation` is (y, p) of the mean weights on validation.
    """
    return [
        counted_parameters(record["budget"], record["parameters"]),
        trained_as_asked(record),
        train_evaluate_parity(record["validation"]["log_loss"], *validation, precision),
        predictions_vary(test_probabilities),
    ]


def say_what_did_not_pass(found: Sequence[Check]) -> None:
    """Print a line for each check that failed or could not be made."""
    for item in found:
        if item["passed"] is None:
            print(f"COULD NOT BE CHECKED, {item['name']}: {item['found']}")
        elif not item["passed"]:
            print(f"CHECK FAILED, {item['name']}: {item['found']}; allowed: {item['allowed']}")
