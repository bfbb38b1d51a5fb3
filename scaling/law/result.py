"""The law of a study as it is written and read: dataclasses here, one JSON file on the disk."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import UserError
from scaling.law.axis import AxisLaw
from scaling.law.baselines import BestNetwork
from scaling.law.bootstrap import Settings
from scaling.law.cells import BaselineLaw, Cell
from scaling.law.direction import Direction, NotMeasured
from scaling.law.earnings import Earnings
from scaling.law.effects import Effect
from scaling.law.power_law import FittedLaw
from scaling.law.runs import MARKETS
from scaling.law.shape import Shapes
from scaling.record import read_json

NO_OUTCOMES = NotMeasured("nothing is known of these days but the label")
# Two studies with equal values of these were asked the same question about the same days.
SAME_QUESTION = {
    "test_days": "test days and positives",
    "base_rate": "training base rate",
}


@dataclass(frozen=True)
class Law:
    """What one table of losses supports."""

    sentence: str
    warnings: list[str]
    axes: dict[str, AxisLaw]
    """By name, of each axis with several points: `parameters`, `train_days` or `markets`."""
    interaction: Effect | None
    """How the slope per decade of parameters changes per decade of the other axis."""
    shapes: Shapes | None
    """Of a ladder."""
    power_law: FittedLaw
    cells: list[Cell]
    """The smallest size first, and of one size the fewest training days or markets."""
    best_network: BestNetwork | None
    """Of a ladder, its best network against the baselines."""
    baselines: dict[str, BaselineLaw]
    """Over the other axis, where there is one."""
    draw: str
    """How the training days were chosen, "recent" or "blocks", or "markets" for random ones."""

    @property
    def parameters(self) -> AxisLaw:
        """The law along the sizes."""
        return self.axes["parameters"]

    @property
    def samples(self) -> AxisLaw:
        """The law along the other axis, of training days or markets."""
        return next(axis for name, axis in self.axes.items() if name != "parameters")

    @property
    def unit(self) -> str:
        """What the other axis counts."""
        return MARKETS if self.draw == MARKETS else "days"


@dataclass(frozen=True)
class JudgedDays:
    """The test days of a study."""

    count: int
    first: str
    last: str
    positives: int
    origins: list[int] = dataclasses.field(default_factory=list)
    """The first test year of each fold; empty where the years are cut once."""


@dataclass(frozen=True)
class Calibration:
    """The slope of a ladder without what calibration has done to it, over the same sizes."""

    recalibrated: AxisLaw | None
    """Of log-loss, once each network is recalibrated on its validation rows; None without any."""
    auc: Effect | None
    """Of the AUC on the test days, per decade; above 0, bigger networks rank better. None where
    most draws of the days leave a fold one class alone."""
    sentence: str
    """Whether these contradict the slope of log-loss; empty where nothing is certain."""


@dataclass(frozen=True)
class StudyLaw:
    """The law of a whole study."""

    experiment: str
    settings: Settings
    test_days: JudgedDays
    base_rate: float
    """Of the whole training block."""
    delta_nats: float
    """The smallest effect that matters, in nats per decade."""
    ladder: Law
    """The sizes on the most training days."""
    surfaces: dict[str, Law]
    """Sizes times training days for each draw of the days, or times markets; empty for a plain
    study."""
    calibration: Calibration
    """Of the ladder."""
    runs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """What each run was made with; see `scaling.run.Run`."""
    direction: Direction | NotMeasured = NO_OUTCOMES
    """How much of the ladder's skill is the direction of the move."""
    earnings: Earnings | NotMeasured = NO_OUTCOMES
    """What the forecasts of its best network would have earned."""
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    """The MD5 of each file of predictions."""
    made_by: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What the law depends on besides its runs: code and settings."""
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Commit, versions and platform that the law was fitted with."""

    @property
    def answer(self) -> str:
        """The verdict, or for each way to draw training days or markets both verdicts."""
        both = [
            f"{draw}: parameters {law.parameters.verdict}, {law.unit} {law.samples.verdict}"
            for draw, law in self.surfaces.items()
        ]
        return "; ".join(both) or self.ladder.parameters.verdict

    @property
    def best_network(self) -> BestNetwork:
        """The best network of the ladder against the baselines."""
        assert self.ladder.best_network is not None, "every ladder has one"
        return self.ladder.best_network


def law_from(content: Mapping[str, Any]) -> StudyLaw:
    """The law in parsed JSON. Raises `UserError` for anything else."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(StudyLaw).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"not the law of a study, or one of other code ({where}: {first['msg']})"
        ) from None


def read_law(path: str | Path) -> StudyLaw:
    """Read a `scaling_law.json`. Raises `UserError` for anything else, with what makes it again."""
    content = read_json(path)
    try:
        return law_from(content)
    except UserError as error:
        raise UserError(f"{path}: {error}; make it again: snakemake --force {path}") from None


def read_laws(paths: list[Path]) -> dict[str, StudyLaw]:
    """The law of each study by its experiment, in the order of `paths`.

    Raises `UserError` for fewer than two studies, for a file that holds no law of a study, and
    for studies whose test days or labels differ: their losses cannot be compared.
    """
    laws: dict[str, StudyLaw] = {}
    for path in paths:
        law = read_law(path)
        if law.experiment in laws:
            raise UserError(f"{path}: {law.experiment} stands twice; give each study once")
        laws[law.experiment] = law
    if len(laws) < 2:
        raise UserError(f"--laws: got {len(laws)} study; allowed: 2 or more")
    (first, reference), *others = laws.items()
    for experiment, law in others:
        for key, name in SAME_QUESTION.items():
            here, there = getattr(law, key), getattr(reference, key)
            if here != there:
                raise UserError(
                    f"{experiment} and {first} differ in their {name}: {here} and {there}; "
                    "allowed: studies of one question on the same days"
                )
    return laws


def as_json(law: StudyLaw) -> dict[str, Any]:
    """What `read_law` reads."""
    return {"kind": "fit", **dataclasses.asdict(law)}
