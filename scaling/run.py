"""One run: what names it, what it was made with, and in what two of them differ.

The file's name, Snakemake's `params`, the columns of the predictions and every refusal come from
here, and nothing else compares runs. A field that is added to `RunName` or to `Run` is in all four.
"""

import argparse
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BeforeValidator, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from scaling.errors import UserError
from scaling.reading import CLOSED, build
from scaling.record import fingerprint, read_json

Values = Mapping[str, Any]

# --- what names a run ------------------------------------------------------------------------

Draw = Literal["recent", "blocks"]
WHOLE_BLOCK: Literal["all"] = "all"
BASELINES = "baselines"  # stands for the budget in the name of the baselines' files


def _number_of_days(given: Any) -> Any:
    if given != WHOLE_BLOCK and (type(given) is not int or given < 1):
        raise ValueError(f"got {given!r}; allowed: a number of days above 0, or `all`")
    return given


NumberOfDays = Annotated[int | Literal["all"], BeforeValidator(_number_of_days)]


@dataclass(frozen=True, config=CLOSED)
class TrainingDays:
    """Which days of the training block are trained on: all of them, or `train_days` of them.

    These are the most `recent` ones, or random calendar quarters (`blocks`), which the seed draws.
    """

    train_days: NumberOfDays = WHOLE_BLOCK
    draw: Draw = "recent"

    @model_validator(mode="after")
    def _drawn_from_something(self) -> "TrainingDays":
        if self.whole and self.draw != "recent":
            raise ValueError(
                f"draw: got {self.draw}, but no train_days; allowed: {self.draw} of a number of "
                "days, for example train_days: 1000"
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether they are all days of the block."""
        return self.train_days == WHOLE_BLOCK

    def __str__(self) -> str:
        return "" if self.whole else f" on {self.train_days} {self.draw} training days"


def sample_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a command that choose what it trains on: fold, days and markets."""
    add = parser.add_argument
    add("--origin", type=int, help="first test year of a fold, in an experiment that walks forward")
    add("--train-days", type=int, help="days of the training block to train on (default: all)")
    add("--draw", choices=get_args(Draw), help="the last ones, or quarters drawn by the seed")
    add("--markets", type=int, help="markets to train on, drawn by the seed (default: all)")


def sample_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts of a run's name that `sample_flags` were given.

    Days that mean nothing are a `UserError`.
    """
    chosen = {"train_days": arguments.train_days, "draw": arguments.draw}
    given = {key: value for key, value in chosen.items() if value is not None}
    days = build(TrainingDays, given, Path("--train-days and --draw"))
    return {"days": days, "markets": arguments.markets, "origin": arguments.origin}


ALL_DAYS = TrainingDays()


class Part(NamedTuple):
    """How a field stands in the name of a run. A number is written in one way only, so that two
    names never mean one run.
    """

    pattern: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _number_after(word: str, digits: str) -> Part:
    return Part(
        pattern=word + digits,
        write=lambda number: f"{word}{number}",
        read=lambda text: int(text.removeprefix(word)),
    )


def _days_in_a_name(text: str) -> TrainingDays:
    draw: Draw = "blocks" if text.startswith("blocks") else "recent"
    return TrainingDays(int(text.removeprefix("blocks").removeprefix("days")), draw)


DAYS = Part(
    pattern="(?:days|blocks)[1-9][0-9]*",
    write=lambda days: f"{'days' if days.draw == 'recent' else days.draw}{days.train_days}",
    read=_days_in_a_name,
)
MARKETS = _number_after("markets", "[1-9][0-9]*")
ORIGIN = _number_after("from", "[1-9][0-9]{3}")
SEED = _number_after("seed", "(?:0|[1-9][0-9]*)")


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class RunName:
    """What tells the runs of one experiment apart: size, training days, markets, origin and seed.

    `markets` is how many of the markets are trained on, and None for all of them. The origin is the
    first test year of a fold, and None where an experiment does not walk forward.
    A field with a `part` stands in the name unless it has its default; that of the seed is the
    config's own. A new field comes before the seed, and a config has a field of the same name.
    """

    budget: str
    days: TrainingDays = dataclasses.field(default=ALL_DAYS, metadata={"part": DAYS})
    markets: int | None = dataclasses.field(default=None, metadata={"part": MARKETS})
    origin: int | None = dataclasses.field(default=None, metadata={"part": ORIGIN})
    seed: int = dataclasses.field(metadata={"part": SEED})

    @property
    def whole(self) -> bool:
        """Whether it is trained on all days of the training block, and on all markets."""
        return self.days.whole and self.markets is None

    def written(self, own_seed: int | None) -> str:
        """`2m`, `2m.seed43`, `2m.blocks1000.from1996.seed43`; None writes every seed."""
        parts = [
            field.metadata["part"].write(getattr(self, field.name))
            for field in self._in_the_name()
            if getattr(self, field.name) != _default(field, own_seed)
        ]
        return ".".join([self.budget, *parts])

    @classmethod
    def read(cls, name: str, own_seed: int) -> Self:
        """The inverse of `written`; a name that it never gives is a `UserError`."""
        parts = "".join(rf"(?:\.({f.metadata['part'].pattern}))?" for f in cls._in_the_name())
        match = re.fullmatch(rf"([a-z0-9]+){parts}", name)
        if match is None:
            raise UserError(
                f"{name}: no name of a run; allowed: 2m, 2m.days1000, 2m.blocks1000.seed43, "
                "2m.markets4, 2m.from1996.seed43"
            )
        budget, *written = match.groups()
        found = {
            field.name: field.metadata["part"].read(text) if text else _default(field, own_seed)
            for field, text in zip(cls._in_the_name(), written, strict=True)
        }
        run = cls(budget=budget, **found)
        if (right := run.written(own_seed)) != name:
            raise UserError(
                f"{name}: seed {run.seed} is the config's own; its run is named `{right}`"
            )
        return run

    def as_json(self) -> dict[str, Any]:
        """Its fields. Those that are None are left out, so that a new one changes no old name."""
        return {key: part for key, part in dataclasses.asdict(self).items() if part is not None}

    def values(self) -> dict[str, Any]:
        """Its parts by the keys that columns and messages have."""
        parts = flat({f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        return {key: part for key, part in parts.items() if part is not None}

    def columns(self) -> dict[str, Any]:
        """What the rows of its predictions say of it. A number of days is text, as `all` is."""
        return {
            key: str(part) if key == "train_days" else part for key, part in self.values().items()
        }

    @classmethod
    def _in_the_name(cls) -> "list[dataclasses.Field[Any]]":
        """The fields that stand in a name after the budget; the seed is the last one."""
        named = [field for field in dataclasses.fields(cls) if "part" in field.metadata]
        return sorted(named, key=lambda field: field.name == "seed")

    def __str__(self) -> str:
        name = self.budget if self.budget == BASELINES else f"{self.budget} seed {self.seed}"
        markets = "" if self.markets is None else f" on {self.markets} markets"
        return f"{name}{self.days}{markets}{'' if self.origin is None else f' from {self.origin}'}"


def _default(field: "dataclasses.Field[Any]", own_seed: int | None) -> Any:
    return own_seed if field.name == "seed" else field.default


def flat(values: Values) -> dict[str, Any]:
    """Nested values by dotted keys. The parts of a dataclass and of `settings` have no prefix."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if dataclasses.is_dataclass(value):
            found |= flat({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        elif isinstance(value, Mapping):
            prefix = "" if key == "settings" else f"{key}."
            found |= {f"{prefix}{name}": part for name, part in flat(value).items()}
        else:
            found[key] = value
    return found


# --- what it was made with -------------------------------------------------------------------

# The keys that tell the runs of a study apart, as they are called in columns and messages.
NAME = tuple(RunName(budget="", markets=1, origin=0, seed=0).columns())
# A run that was made with other versions of the packages, on another machine, is the same run.
MACHINE = ("versions",)
UNKNOWN = dict.fromkeys(("device", "precision", "micro_batch", "prices", "features", "labels"))


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class Run:
    """All that a trained weight depends on. None stands for what only the training finds out.

    `settings` are the sections of the config, `model` is the shape of the size. `prices` and
    `features` are MD5s, those of several markets in the order of the config, and of a fold those of
    the rows up to the end of its test block. `labels` and `code` are digests.
    """

    experiment: str
    name: RunName
    settings: Values
    model: Values
    code: str
    versions: Values
    device: str | None
    precision: str | None
    micro_batch: int | None
    prices: str | None
    features: str | None
    labels: str | None

    @classmethod
    def of(cls, artefact: Values, path: str | Path) -> Self:
        """The run that an artefact says it is of; a file that does not say it is a `UserError`."""
        try:
            return cls(**artefact["identity"])
        except (KeyError, TypeError, ValidationError):
            raise UserError(
                f"{path}: does not say what it was made with; make it again: "
                f"snakemake --force {path}"
            ) from None

    def as_json(self) -> dict[str, Any]:
        """What an artefact holds under `identity`, and Snakemake among its `params`."""
        return {**dataclasses.asdict(self), "name": self.name.as_json()}

    def titles(self, name: str) -> dict[str, Any]:
        """What an artefact is called by, besides all that it was made with."""
        made = {"budget": self.name.budget, "seed": self.name.seed}
        return {"experiment": self.experiment, "run": name, **made}

    @property
    def fingerprint(self) -> str:
        """16 hex digits of all of it."""
        return fingerprint(self.as_json())

    def values(self) -> dict[str, Any]:
        """All of it by dotted keys: `seed`, `train_days`, `optimiser.epochs`, `model.d_model`."""
        named = {"experiment": self.experiment, **self.name.values()}
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return named | flat({k: v for k, v in fields.items() if k not in ("experiment", "name")})

    def difference(self, other: "Run", may_differ: Collection[str] = ()) -> "list[Difference]":
        """In what this run, which is on disk, differs from another one, which is asked for."""
        return difference(self.values(), other.values(), may_differ)


# --- in what two of them differ --------------------------------------------------------------


class Difference(NamedTuple):
    """A key in which two artefacts differ, with the value of each."""

    key: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.key} is {self.there}, not {self.here}"


def difference(there: Values, here: Values, may_differ: Collection[str] = ()) -> list[Difference]:
    """Every key with two values, except for those in `may_differ` or in a section of that name.

    None is not known yet, so it differs from nothing. A key that only one side has does differ.
    """
    compared = [key for key in {**here, **there} if key not in may_differ]
    compared = [key for key in compared if key.partition(".")[0] not in may_differ]
    pairs = [Difference(k, there.get(k, "nothing"), here.get(k, "nothing")) for k in compared]
    return [pair for pair in pairs if pair.there != pair.here and None not in pair[1:]]


def said(differences: Iterable[Difference]) -> str:
    """Differences in one line, each once; empty for none."""
    return "; ".join(dict.fromkeys(map(str, differences)))


def refuse(where: str | Path, differences: Iterable[Difference], again: str | None = None) -> None:
    """Raise a `UserError` if there is a difference: file, key, there, here, and what to type."""
    if found := said(differences):
        raise UserError(f"{where}: {found}; {again or f'make it again: snakemake --force {where}'}")


def outdated(
    path: Path,
    asked: Sequence[Run],
    made_by: Values | None = None,
    may_differ: Collection[str] = MACHINE,
) -> str:
    """Why a file on disk would be made otherwise now: every key that differs; empty for none.

    The file is of one run, or of those in its `runs`. `made_by` is what it depends on besides.
    """
    made = read_json(path)
    contents = made["runs"] if "runs" in made else [made.get("identity")]
    try:
        there = {run.name: run for c in contents for run in [Run.of({"identity": c}, path)]}
    except UserError as error:
        return str(error)
    here = {run.name: run for run in asked}
    if len(asked) == 1 == len(there):  # one run for one: the name is only one more thing to compare
        here = dict.fromkeys(there, *asked)
    found = [Difference("runs", "without it", str(name)) for name in here if name not in there]
    found += [Difference("runs", str(name), "without it") for name in there if name not in here]
    for name in there.keys() & here.keys():
        found += there[name].difference(here[name], may_differ)
    found += difference(flat(made.get("made_by", {})), flat(made_by or {}))
    return said(found)
