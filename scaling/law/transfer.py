"""What a size would gain by a learning rate of its own, measured on years before any test.

`benchmarks/transfer.py` trains every size with several rates and writes the table read here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import UserError
from scaling.record import read_json
from scaling.run import Run, difference, flat, said

LOG = logging.getLogger(__name__)
# What must be the same in the table and in the study. Its years and its rates are others.
SAME = ("family", "task", "window", "optimiser")
COLUMNS = ("budget", "rate", "seed", "log_loss")


@dataclass(frozen=True)
class SizeRecipe:
    """One size with several learning rates. Losses are means over the seeds, in nats."""

    budget: str
    rate: float
    """The study's."""
    best_rate: float
    """The one with the lowest loss, of those from `lowest_rate` to `highest_rate`."""
    lowest_rate: float
    highest_rate: float
    seeds: int
    """The fewest of a rate."""
    lost: float
    """The loss with the study's rate minus that with the best one."""

    @property
    def bracketed(self) -> bool:
        """Whether the best rate has a worse one on either side."""
        return self.lowest_rate < self.best_rate < self.highest_rate


def read_recipes(path: Path, runs: Sequence[Run]) -> tuple[SizeRecipe, ...]:
    """The sizes of a study's `runs` that the table at `path` tells of.

    None for a table of another question, window, family or recipe, or of days that the study is
    tested on; a warning says so, because an experiment inherits the table from the one that it
    extends. Raises `UserError` for a table without the
    study's rate.
    """
    content = read_json(path)
    if content.get("kind") != "transfer":
        raise UserError(
            f"{path}: no table of rates; make one: python benchmarks/transfer.py --help"
        )
    table = pd.DataFrame(content["runs"], columns=list(COLUMNS))
    found = []
    first_tested = min(str(run.settings["splits"]["test"][0]) for run in runs)
    if (last := content.get("last_day", "unknown")) >= first_tested:
        LOG.warning(
            f"{path}: tells nothing of tests from {first_tested} on: its last day is {last}"
        )
        return ()
    for run in {run.name.budget: run for run in runs}.values():
        rows = table[table["budget"] == run.name.budget]
        if len(rows) and _tells_of(run, content["settings"], path):
            found.append(_size(path, run, rows))
    return tuple(found)


def _tells_of(run: Run, settings: dict[str, Any], path: Path) -> bool:
    there, here = (flat({key: own[key] for key in SAME}) for own in (settings, dict(run.settings)))
    differing = said(difference(there, here, ("optimiser.learning_rate",)))
    if differing:
        LOG.warning(f"{path}: tells nothing of {run.name}: {differing}")
    return not differing


def _size(path: Path, run: Run, rows: pd.DataFrame) -> SizeRecipe:
    own = float(run.settings["optimiser"]["learning_rate"])
    by_rate = rows.groupby("rate")["log_loss"].agg(["mean", "size"])
    losses = by_rate["mean"]
    if own not in losses:
        tried = ", ".join(f"{rate:g}" for rate in losses.index)
        raise UserError(
            f"{path}: {run.name.budget} was tried with the learning rates {tried}, and the study "
            f"has {own:g}; make the table again: python benchmarks/transfer.py --help"
        )
    return SizeRecipe(
        budget=run.name.budget,
        rate=own,
        best_rate=float(losses.index.to_numpy()[losses.argmin()]),
        lowest_rate=float(losses.index.min()),
        highest_rate=float(losses.index.max()),
        seeds=int(by_rate["size"].min()),
        lost=float(losses[own] - losses.min()),
    )
