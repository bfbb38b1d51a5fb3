"""Every figure of a study, declared once, for the page, the workflow and the drawings alike.

To add one, declare it here, say in `scaling.figures.gallery` how it is drawn, write its caption in
`captions/<name>.rst`, and place it on the page. This module imports no plotting.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ANSWER, TRUST = "The answer", "Can it be trusted?"


@dataclass(frozen=True)
class Declared:
    """One figure, `figures/<name>.svg` beside the page."""

    name: str
    group: str
    """Under which Snakemake's own report shows it."""
    shows: str
    needs: tuple[str, ...] = ()
    """What a study must have for it: `runs` of our own, `sweeps`, several numbers of `train_days`
    or markets, `ensembles`, several `draws` of the days, a `direction` that was measured, the
    `folds` of a walk forward, `ageings` of its networks, several judged `markets`."""

    @property
    def caption_file(self) -> Path:
        """The caption, which Snakemake's own report reads, too."""
        return FOLDER / "captions" / f"{self.name}.rst"

    @property
    def caption(self) -> str:
        """The caption as a single line."""
        return " ".join(self.caption_file.read_text().split())


CATALOGUE = (
    Declared("ladder", ANSWER, "skill against size"),
    Declared("folds", ANSWER, "slope fold by fold", ("folds",)),
    Declared("age", ANSWER, "loss by age of the network", ("ageings",)),
    Declared("compute", ANSWER, "loss against compute", ("runs",)),
    Declared("two_axes", ANSWER, "loss against days or markets", ("train_days",)),
    Declared("loss_by_size", ANSWER, "loss against size at each number", ("train_days",)),
    Declared("skill_map", ANSWER, "skill over both axes", ("train_days",)),
    Declared("ensembles", ANSWER, "ensembles beside single networks", ("ensembles",)),
    Declared("draws", ANSWER, "recent days beside random quarters", ("draws",)),
    Declared("direction", ANSWER, "direction beside volatility", ("direction",)),
    Declared("markets", ANSWER, "skill market by market", ("markets",)),
    Declared("learning_curves", TRUST, "learning curves", ("runs",)),
    Declared("sweeps", TRUST, "recipes that were tried", ("sweeps",)),
    Declared("reliability", TRUST, "calibration"),
    Declared("skill_by_year", TRUST, "skill year by year"),
    Declared("drift", TRUST, "drift of the features", ("runs",)),
)


def figures_of(has: Collection[str]) -> list[Declared]:
    """The figures of a study that has all this."""
    return [figure for figure in CATALOGUE if set(figure.needs) <= set(has)]
