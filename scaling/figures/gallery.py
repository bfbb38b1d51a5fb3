"""All figures of one study: a function for each one in the catalogue, of the same name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import plots, surfaces
from scaling.figures.catalogue import figures_of
from scaling.judging.checks import LARGEST_SHIFT
from scaling.judging.run_files import name_in
from scaling.law.ageing import Ageing
from scaling.law.direction import VOLATILITY, Direction
from scaling.law.judged_markets import Markets, markets_of
from scaling.law.result import Law, StudyLaw
from scaling.metrics import log_loss

Files = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """What is drawn: a law, and of its ladder the prediction rows and the files of the runs."""

    law: StudyLaw
    predictions: pd.DataFrame
    baseline_predictions: pd.DataFrame
    records: Files = ()
    evaluations: Files = ()
    sweeps: Files = ()
    ageings: Sequence[Ageing] = ()
    networks: dict[str, pd.DataFrame] = field(init=False)
    """Rows of date, y, p on the test days for each size; of several seeds, their mean."""
    rival: tuple[str, pd.DataFrame] = field(init=False)
    """The name of the strongest baseline, and its rows."""
    base: pd.DataFrame = field(init=False)
    """The rows of the base rate, which is that of the years before each fold."""
    markets: Markets | None = field(init=False)

    def __post_init__(self) -> None:
        rows = self.predictions[self.predictions["weights"] == "mean"]
        networks = _test_forecasts(rows, "budget")
        ordered = {cell.budget: networks[cell.budget] for cell in self.law.ladder.cells}
        against = self.law.best_network.against
        strongest = max(against, key=lambda name: against[name].skill)
        baselines = _test_forecasts(self.baseline_predictions, "model")
        object.__setattr__(self, "networks", ordered)
        object.__setattr__(self, "rival", (strongest, baselines[strongest]))
        object.__setattr__(self, "base", baselines["base_rate"])
        found = markets_of(self.predictions, self.baseline_predictions)
        object.__setattr__(self, "markets", found)

    @property
    def has(self) -> set[str]:
        """What the catalogue's figures need, as far as it is here."""
        surfaces = self.law.surfaces
        present = {
            "runs": self.records,
            "sweeps": self.sweeps,
            "ageings": self.ageings,
            "train_days": surfaces,
            "ensembles": surfaces and any(cell.ensemble for cell in self.surface.cells),
            "draws": len(surfaces) > 1,
            "direction": isinstance(self.law.direction, Direction),
            "folds": self.law.ladder.parameters.folds,
            "markets": self.markets,
        }
        return {name for name, found in present.items() if found}

    def newest(self, files: Files) -> Files:
        """Those of the files that are of the newest fold; all where the years are cut once."""
        newest = self.law.test_days.origins[-1:]
        return [made for made in files if name_in(made).origin in (None, *newest)]

    @property
    def surface(self) -> Law:
        """The law of the first way to draw the training days, which the page is about."""
        return next(iter(self.law.surfaces.values()))


def draw(shown: Shown) -> dict[str, Figure]:
    """Every figure of the catalogue that the study has what it needs for, by name."""
    return {figure.name: globals()[figure.name](shown) for figure in figures_of(shown.has)}


def ladder(shown: Shown) -> Figure:
    skills = {name: row.skill for name, row in shown.law.best_network.against.items()}
    base_loss = log_loss(shown.base["y"], shown.base["p"])
    return plots.ladder(shown.law.ladder.cells, base_loss, skills)


def folds(shown: Shown) -> Figure:
    return plots.folds(shown.law.ladder.parameters)


def age(shown: Shown) -> Figure:
    return plots.age(shown.ageings)


def reliability(shown: Shown) -> Figure:
    best, (name, rival) = shown.law.best_network.budget, shown.rival
    forecasts = {best: shown.networks[best], name: rival}
    return plots.reliability_diagram({k: (rows["y"], rows["p"]) for k, rows in forecasts.items()})


def skill_by_year(shown: Shown) -> Figure:
    name, rival = shown.rival
    return plots.skill_by_year({**shown.networks, name: rival}, shown.base)


def direction(shown: Shown) -> Figure:
    assert isinstance(shown.law.direction, Direction), "the catalogue needs it"
    rankings = {k: v for k, v in shown.law.direction.rankings.items() if k != VOLATILITY}
    return plots.direction({name: ranking.minus_volatility for name, ranking in rankings.items()})


def markets(shown: Shown) -> Figure:
    assert shown.markets, "the catalogue needs them"
    parameters = [cell.parameters for cell in shown.law.ladder.cells]
    return plots.markets(shown.markets.rows, parameters)


def compute(shown: Shown) -> Figure:
    runs = [
        {
            "budget": record["budget"],
            "flops": record["flops"],
            "log_loss": evaluation["metrics"]["mean"]["test"]["log_loss"],
        }
        for record, evaluation in zip(shown.records, shown.evaluations, strict=True)
    ]
    return plots.compute(pd.DataFrame(runs))


def learning_curves(shown: Shown) -> Figure:
    return plots.learning_curves(shown.newest(shown.records))


def drift(shown: Shown) -> Figure:
    return plots.drift(shown.newest(shown.evaluations)[0]["drift"], LARGEST_SHIFT)


def sweeps(shown: Shown) -> Figure:
    return plots.sweeps(shown.sweeps)


def two_axes(shown: Shown) -> Figure:
    return surfaces.loss_against_days(shown.surface)


def loss_by_size(shown: Shown) -> Figure:
    return surfaces.loss_against_size(shown.surface)


def skill_map(shown: Shown) -> Figure:
    return surfaces.skill_map(shown.surface)


def ensembles(shown: Shown) -> Figure:
    return surfaces.ensembles(shown.surface)


def draws(shown: Shown) -> Figure:
    return surfaces.draws(shown.law.surfaces)


def _test_forecasts(rows: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    keys = [key for key in ("date", "asset") if key in rows]  # several markets have an asset
    return {
        str(model): own.groupby(keys, as_index=False).agg(y=("y", "first"), p=("p", "mean"))
        for model, own in rows[rows["split"] == "test"].groupby(name, sort=False)
    }
