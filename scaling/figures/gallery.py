"""All figures of one study: how each one in the catalogue is drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import plots, surfaces
from scaling.figures.catalogue import figures_of
from scaling.figures.plots import Files
from scaling.judging.checks import LARGEST_SHIFT
from scaling.judging.run_files import name_in
from scaling.judging.study_files import StudyFiles
from scaling.law.ageing import Ageing
from scaling.law.direction import VOLATILITY, Direction
from scaling.law.judged_markets import Markets, markets_of
from scaling.law.result import Law, StudyLaw
from scaling.law.runs import BASE_RATE


@dataclass(frozen=True)
class Shown:
    """What is drawn: the files of a ladder, and what else was made of it."""

    study: StudyFiles
    sweeps: Files = ()
    ageings: Sequence[Ageing] = ()

    @property
    def law(self) -> StudyLaw:
        """The law of the whole study."""
        return self.study.law

    @cached_property
    def networks(self) -> dict[str, pd.DataFrame]:
        """Rows of date, y, p on the test days for each size; of several seeds, their mean."""
        rows = self.study.predictions
        networks = _test_forecasts(rows[rows["weights"] == "mean"], "budget")
        return {budget: networks[budget] for budget in self.study.budgets}

    @cached_property
    def baselines(self) -> dict[str, pd.DataFrame]:
        """The same rows of each baseline; the base rate is that of the years before each fold."""
        return _test_forecasts(self.study.baseline_predictions, "model")

    @property
    def rival(self) -> tuple[str, pd.DataFrame]:
        """The name of the strongest baseline, and its rows."""
        against = self.law.best_network.against
        strongest = max(against, key=lambda name: against[name].skill)
        return strongest, self.baselines[strongest]

    @cached_property
    def markets(self) -> Markets | None:
        """Each judged market, where several are judged."""
        return markets_of(self.study.predictions, self.study.baseline_predictions)

    @property
    def has(self) -> set[str]:
        """What the catalogue's figures need, as far as it is here."""
        surfaces = self.law.surfaces
        present = {
            "runs": self.study.records,
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
    return {figure.name: DRAWINGS[figure.name](shown) for figure in figures_of(shown.has)}


def _ladder(shown: Shown) -> Figure:
    skills = {name: row.skill for name, row in shown.law.best_network.against.items()}
    return plots.ladder(shown.law.ladder.cells, skills)


def _reliability(shown: Shown) -> Figure:
    best, (name, rival) = shown.law.best_network.budget, shown.rival
    forecasts = {best: shown.networks[best], name: rival}
    return plots.reliability_diagram({k: (rows["y"], rows["p"]) for k, rows in forecasts.items()})


def _skill_by_year(shown: Shown) -> Figure:
    name, rival = shown.rival
    return plots.skill_by_year({**shown.networks, name: rival}, shown.baselines[BASE_RATE])


def _direction(shown: Shown) -> Figure:
    assert isinstance(shown.law.direction, Direction), "the catalogue needs it"
    rankings = shown.law.direction.rankings.items()
    return plots.direction({k: own.minus_volatility for k, own in rankings if k != VOLATILITY})


def _markets(shown: Shown) -> Figure:
    assert shown.markets, "the catalogue needs them"
    parameters = [cell.parameters for cell in shown.law.ladder.cells]
    return plots.markets(shown.markets.rows, parameters)


DRAWINGS: dict[str, Callable[[Shown], Figure]] = {
    "ladder": _ladder,
    "folds": lambda shown: plots.folds(shown.law.ladder.parameters),
    "age": lambda shown: plots.age(shown.ageings),
    "compute": lambda shown: plots.compute(shown.study.records, shown.study.evaluations),
    "two_axes": lambda shown: surfaces.loss_against_days(shown.surface),
    "loss_by_size": lambda shown: surfaces.loss_against_size(shown.surface),
    "skill_map": lambda shown: surfaces.skill_map(shown.surface),
    "ensembles": lambda shown: surfaces.ensembles(shown.surface),
    "draws": lambda shown: surfaces.draws(shown.law.surfaces),
    "direction": _direction,
    "markets": _markets,
    "learning_curves": lambda shown: plots.learning_curves(shown.newest(shown.study.records)),
    "sweeps": lambda shown: plots.sweeps(shown.sweeps),
    "reliability": _reliability,
    "skill_by_year": _skill_by_year,
    "drift": lambda shown: plots.drift(
        shown.newest(shown.study.evaluations)[0]["drift"], LARGEST_SHIFT
    ),
}


def _test_forecasts(rows: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    keys = [key for key in ("date", "asset") if key in rows]  # several markets have an asset
    return {
        str(model): own.groupby(keys, as_index=False).agg(y=("y", "first"), p=("p", "mean"))
        for model, own in rows[rows["split"] == "test"].groupby(name, sort=False)
    }
