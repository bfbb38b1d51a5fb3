"""How the years of an experiment are cut: once, or again and again by a walk forward."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from scaling.reading import CLOSED, Integer, Positive

Dates = tuple[date, date]
Year = Annotated[Integer, Field(ge=1900, le=2999)]
EARLIEST = 1800  # a year before all prices
LAST_WEEK = (12, 25)  # of a year: exchanges close some days before it ends


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class Enough:
    """How many samples a block has at least, and how many of either class."""

    min_samples: Positive = 200
    min_positives: Positive = 10


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class SplitConfig(Enough):
    """Chronological blocks by their first and last day; no training reads the test block."""

    train: Dates
    validation: Dates
    test: Dates

    @model_validator(mode="after")
    def _chronological(self) -> "SplitConfig":
        blocks = [("train", self.train), ("validation", self.validation), ("test", self.test)]
        for name, (first, last) in blocks:
            if first >= last:
                raise ValueError(f"{name} runs from {first} to {last}; it must end after it starts")
        for (before, a), (after, b) in zip(blocks, blocks[1:], strict=False):
            if b[0] <= a[1]:
                raise ValueError(
                    f"{after} starts on {b[0]}, before {before} ends on {a[1]}; the blocks must "
                    "follow one another: train, validation, test"
                )
        return self


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class WalkForward(Enough):
    """Folds of calendar years: each is trained on years before its own test block.

    A fold is named by its origin, the first year of its test block, and it is nothing but an
    experiment with splits of its own. The test blocks follow one another, so that every day from
    `first_test` on is a test day once. Every fold keeps the last years before its test block for
    validation, which chooses the best size and the settings of the baselines, and recalibrates.
    Days whose label looks past the end of a block are purged, as in every experiment. No days are
    left out after a block (an embargo), because features look back only: what a test day sees of
    earlier days was known on that day.
    """

    first_test: Year
    test_years: Positive
    validation_years: Positive
    train_years: Positive | Literal["all"]

    def splits(self, origin: int) -> SplitConfig:
        """The blocks of a fold, whole calendar years; the last fold's test days end with the data.

        `train_years: all` is everything before validation.
        """
        validation = origin - self.validation_years
        train = EARLIEST if self.train_years == "all" else validation - self.train_years
        return SplitConfig(
            train=(date(train, 1, 1), date(validation - 1, 12, 31)),
            validation=(date(validation, 1, 1), date(origin - 1, 12, 31)),
            test=(date(origin, 1, 1), date(origin + self.test_years - 1, 12, 31)),
            min_samples=self.min_samples,
            min_positives=self.min_positives,
        )

    def origins(self, last: date) -> list[int]:
        """The origins of all folds, if `last` is the last day of the data.

        A fold needs the whole first year of its test block. Half a year would be a block of too few
        days, and the next prices make it a fold anyway.
        """
        until = last.year if last >= date(last.year, *LAST_WEEK) else last.year - 1
        return list(range(self.first_test, until + 1, self.test_years))
