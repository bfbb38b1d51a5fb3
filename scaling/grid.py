"""What `snakemake` builds: every experiment with every size, seed, number of days and markets."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from scaling.config import SafeName, TrainingConfig, load_config
from scaling.errors import UserError
from scaling.identities import of_markets, origins_of
from scaling.names import experiment_path
from scaling.reading import CLOSED, Positive, Seed, build
from scaling.run import WHOLE_BLOCK, Draw, NumberOfDays, RunName, TrainingDays
from scaling.sizes import load_model_config


@dataclass(frozen=True, config=CLOSED)
class GridConfig:
    """What `snakemake` without a target builds: all combinations of these, for each experiment.

    A budget in `fewer_seeds` has the first of the `seeds` only, so many as it says there. Each of
    `train_days` is drawn in each way of `draw`. There is only one way to draw `all`. Each number of
    `markets` is trained on all days, and all markets are judged.
    """

    experiments: Annotated[list[SafeName], Field(min_length=1)]
    budgets: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    fewer_seeds: dict[str, Positive] = dataclasses.field(default_factory=dict)
    train_days: Annotated[list[NumberOfDays], Field(min_length=1)] = dataclasses.field(
        default_factory=lambda: [WHOLE_BLOCK]
    )
    draw: Annotated[list[Draw], Field(min_length=1)] = dataclasses.field(
        default_factory=lambda: ["recent"]
    )

    markets: list[Positive] = dataclasses.field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> "GridConfig":
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if twice := [v for v in values if [*values].count(v) > 1]:
                raise ValueError(f"{field.name}: {twice[0]} stands twice; keep one")
        for budget, count in self.fewer_seeds.items():
            if budget not in self.budgets:
                raise ValueError(
                    f"fewer_seeds: got {budget}; allowed: budgets of this grid: "
                    f"{', '.join(self.budgets)}"
                )
            if count >= len(self.seeds):
                raise ValueError(
                    f"fewer_seeds.{budget}: got {count}; allowed: fewer than the grid's "
                    f"{len(self.seeds)} seeds"
                )
        if WHOLE_BLOCK not in self.train_days:
            raise ValueError(
                f"train_days: got {', '.join(map(str, self.train_days))}; allowed: numbers of days "
                "with `all` among them, because the page shows the ladder on all days"
            )
        if self.markets and self.train_days != [WHOLE_BLOCK]:
            raise ValueError(
                f"markets: got {self.markets} beside train_days {self.train_days}; allowed: one of "
                "them, because the page has one axis beside the parameters"
            )
        if self.train_days == [WHOLE_BLOCK] and self.draw != ["recent"]:
            raise ValueError(
                f"draw: got {', '.join(self.draw)}, but train_days has no number of days to draw; "
                "allowed: for example train_days: [1000, all]"
            )
        return self

    def runs_of(self, config: TrainingConfig) -> list[RunName]:
        """The trainings of an experiment; of one that walks forward, those of all its folds."""
        origins: list[int | None] = [*origins_of(config)]
        whole = len(config.data.markets)
        samples: list[tuple[TrainingDays, int | None]]
        samples = [(TrainingDays(), number) for number in self.markets if number != whole]
        for number in self.train_days:
            drawn = [TrainingDays(number, draw) for draw in self.draw if number != WHOLE_BLOCK]
            samples += [(days, None) for days in drawn or [TrainingDays()]]
        return [
            RunName(budget=budget, days=days, markets=markets, origin=origin, seed=seed)
            for budget in self.budgets
            for origin in origins or [None]
            for days, markets in samples
            for seed in self.seeds[: self.fewer_seeds.get(budget)]
        ]


def load_grid(content: dict[str, Any], path: str | Path = "configs/full.yaml") -> GridConfig:
    """Check a grid that Snakemake has parsed, and every experiment and budget that it names."""
    grid = build(GridConfig, content, Path(path))
    for experiment in grid.experiments:
        for budget in grid.budgets:
            config = load_config(experiment_path(experiment), budget)
            load_model_config(budget, config.family)
        try:
            paired = origins_of(config) or grid.markets or grid.draw != ["recent"]
            for markets in {run.markets for run in grid.runs_of(config)}:
                of_markets(config, markets)
        except UserError as error:
            raise UserError(f"{experiment_path(experiment)}: {error}") from None
        counts = {grid.fewer_seeds.get(budget, len(grid.seeds)) for budget in grid.budgets} - {1}
        if paired and len(counts) > 1:
            raise UserError(
                f"{path}: fewer_seeds: got {grid.fewer_seeds} of {len(grid.seeds)} seeds; allowed: "
                "1 for a size, or one number for all others, because in a walk forward, and where "
                "a seed draws what is trained on, all sizes of several seeds need the same ones"
            )
    return grid
