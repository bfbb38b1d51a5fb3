"""What an experiment asks for: `configs/daily/threshold_1pct.yaml` checked by frozen dataclasses.

`scaling.sizes` has the budgets, and `scaling.grid` what `snakemake` builds. The Snakefile imports
them for every plan, so they must not import torch.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from scaling.errors import UserError
from scaling.names import (
    CONFIG_ROOT,
    DEFAULT_TIER,
    EXTERNAL,
    NAME_PART,
    known_tiers,
    safe_name,
    tier_named,
)
from scaling.reading import (
    CLOSED,
    Flag,
    Integer,
    Positive,
    Real,
    Seed,
    build,
    inherited_from,
    read_extended,
)
from scaling.run import NAME, TrainingDays
from scaling.sizes import (
    DEFAULT_FAMILY,
    OptimiserConfig,
    OwnRecipe,
    known_budgets,
    model_config_path,
)
from scaling.splits import SplitConfig, WalkForward

SafePath = Annotated[Path, AfterValidator(lambda path: Path(safe_name(path)))]
SafeName = Annotated[str, AfterValidator(safe_name)]
AssetName = Annotated[str, Field(pattern=f"^{NAME_PART.pattern}$")]


class Market(NamedTuple):
    """One market of an experiment: its prices, and the features that are built from them."""

    name: str
    prices: Path
    features: Path
    judged: bool
    """Whether validation and test are of its days. Every market is trained on."""


@dataclass(frozen=True, config=CLOSED)
class DataConfig:
    """The files of one market. The name of the features file carries their tier."""

    prices: SafePath = Path("data/raw/SPY.parquet")
    features: SafePath = Path("data/processed/v1/SPY_features_a20.parquet")
    manifest: SafePath = Path("data/manifest.json")

    @model_validator(mode="after")
    def _known_tier(self) -> "DataConfig":
        tier_named(self.features)
        return self

    @property
    def tier(self) -> str:
        """The tier of the features: a module in `scaling/data/tiers`, or `EXTERNAL`."""
        return tier_named(self.features)

    @property
    def markets(self) -> tuple[Market, ...]:
        """The one market of these files."""
        return (Market(self.prices.stem, self.prices, self.features, judged=True),)


@dataclass(frozen=True, config=CLOSED)
class MarketsConfig:
    """Several markets that train one network, by the names of their files in data/raw.

    Validation and test are of the `judged` ones. All have features of one `tier`.
    """

    assets: Annotated[tuple[AssetName, ...], Field(min_length=1)]
    judged: Annotated[tuple[AssetName, ...], Field(min_length=1)]
    tier: str = DEFAULT_TIER
    manifest: ClassVar[Path] = Path("data/manifest.json")

    @model_validator(mode="after")
    def _consistent(self) -> "MarketsConfig":
        for key, names in (("assets", self.assets), ("judged", self.judged)):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{key}: {twice[0]} stands twice; keep one")
        if strange := [name for name in self.judged if name not in self.assets]:
            raise ValueError(f"judged: got {strange[0]}; allowed: {', '.join(self.assets)}")
        if self.tier not in known_tiers():
            raise ValueError(f"tier: got {self.tier}; allowed: {', '.join(known_tiers())}")
        return self

    @property
    def markets(self) -> tuple[Market, ...]:
        """The markets in the order of `assets`."""
        return tuple(
            Market(
                name,
                prices=Path(f"data/raw/{name}.parquet"),
                features=Path(f"data/processed/v1/{name}_features_{self.tier}.parquet"),
                judged=name in self.judged,
            )
            for name in self.assets
        )


def _kind_of_data(given: Any) -> str:
    several = isinstance(given, MarketsConfig) or (isinstance(given, Mapping) and "assets" in given)
    return "<MarketsConfig>" if several else "<DataConfig>"


# A tag is the name of the class in angle brackets: `scaling.reading` finds the class by it.
Data = Annotated[
    Annotated[DataConfig, Tag("<DataConfig>")] | Annotated[MarketsConfig, Tag("<MarketsConfig>")],
    Discriminator(_kind_of_data),
]


@dataclass(frozen=True, config=CLOSED)
class TaskConfig:
    """The question: does a close move by `threshold` (a fraction) within `horizon` days?"""

    threshold: Annotated[Real, Field(gt=0, lt=0.5)]
    horizon: Annotated[Integer, Field(ge=1, le=250)]
    direction: Literal["up", "down", "either"] = "up"

    def question(self) -> str:
        """What a label of 1 says: `'the close falls by 1 % or more within 3 days'`."""
        moves = {"up": "rises", "down": "falls", "either": "rises or falls"}[self.direction]
        days = "one day" if self.horizon == 1 else f"{self.horizon} days"
        return f"the close {moves} by {100 * self.threshold:g} % or more within {days}"


@dataclass(frozen=True, config=CLOSED)
class WindowConfig:
    """What a model sees: `context_length` days, cut into patches that do not overlap.

    No sample's day lies in the first `warmup` rows of the feature table.
    """

    context_length: Positive
    patch_length: Positive
    warmup: Positive

    @model_validator(mode="after")
    def _consistent(self) -> "WindowConfig":
        if self.context_length % self.patch_length:
            raise ValueError(
                f"patch_length {self.patch_length} does not divide context_length "
                f"{self.context_length}; allowed: a divisor, for example patch_length: 8"
            )
        if self.warmup < self.context_length - 1:
            raise ValueError(
                f"warmup is {self.warmup}; allowed: at least context_length - 1 = "
                f"{self.context_length - 1}, so that the first window starts inside the data"
            )
        return self


@dataclass(frozen=True, config=CLOSED)
class ThermalConfig:
    """Levels in degrees Celsius. Below `acceptable` is normal; at `critical` training stops."""

    acceptable: Real = 70.0
    warning: Real = 85.0
    critical: Real = 95.0
    poll_seconds: Annotated[Real, Field(ge=2)] = 5.0
    pause_on_warning: Flag = False
    max_pause_seconds: Annotated[Real, Field(gt=0)] = 600.0
    log_only: Flag = False

    @model_validator(mode="after")
    def _ordered(self) -> "ThermalConfig":
        if not self.acceptable < self.warning < self.critical:
            raise ValueError(
                f"acceptable {self.acceptable}, warning {self.warning}, critical {self.critical}: "
                "must rise, for example 70, 85, 95"
            )
        return self


@dataclass(frozen=True, config=CLOSED)
class TrackingConfig:
    """Which trackers mirror the local record. Without `mlflow_uri` MLflow writes to results/."""

    mlflow: Flag = True
    mlflow_uri: str | None = None
    wandb: Flag = False
    wandb_project: str = "market-scaling"


@dataclass(frozen=True, config=CLOSED)
class LawConfig:
    """What counts as an effect, written down before any test row is read.

    `delta` is a fraction of the base-rate entropy per decade of parameters. `transfer` is a table
    of the losses of each size with several learning rates, which `benchmarks/transfer.py` writes.
    With it, a verdict that may be one about recipes is "recipe-bound".
    """

    delta: Annotated[Real, Field(gt=0, lt=1)] = 0.01
    bootstrap_samples: Annotated[Integer, Field(ge=200)] = 2000
    transfer: SafePath | None = None

    @model_validator(mode="after")
    def _there(self) -> "LawConfig":
        if self.transfer and not self.transfer.is_file():
            raise ValueError(
                f"transfer: {self.transfer} does not exist; allowed: a table that is made by "
                "python benchmarks/transfer.py --help"
            )
        return self


@dataclass(frozen=True, config=CLOSED)
class EarningsConfig:
    """How forecasts would be traded, written down before any test row is read.

    `target_volatility` is a fraction a year, `largest_position` a multiple of the wealth, and
    `costs_bp` are hundredths of a per cent of what is bought or sold, one result for each.
    """

    target_volatility: Annotated[Real, Field(gt=0, lt=1)] = 0.1
    largest_position: Annotated[Real, Field(gt=0, le=10)] = 2.0
    costs_bp: Annotated[tuple[Annotated[Real, Field(ge=0)], ...], Field(min_length=1)] = (1.0, 5.0)


@dataclass(frozen=True, config=CLOSED)
class TrainingConfig:
    """One experiment: everything that is asked for, and nothing that is found out.

    A grid sets the training `days`, and on how many of the `markets` a network is trained. An
    experiment's file never does, so that the name of a run says it. One recipe serves every size
    (scaling/training/transfer.py). What a size is to have of its own all the same stands in
    `recipes`, by its budget. An experiment has `splits`, or it walks forward: then `origin` names
    one of its folds, whose `splits` these are, or it is None, and they are those of the first fold.
    """

    task: TaskConfig
    window: WindowConfig
    optimiser: OptimiserConfig
    walk_forward: WalkForward | None = None
    origin: int | None = None
    splits: SplitConfig = Field(default=None, validate_default=True)
    recipes: dict[str, OwnRecipe] = dataclasses.field(default_factory=dict)
    family: str = DEFAULT_FAMILY
    param_budget: str = "2m"
    seed: Seed = 42
    days: TrainingDays = TrainingDays()
    markets: int | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: Annotated[Real, Field(gt=0)] = 10.0
    data: Data = DataConfig()
    thermal: ThermalConfig = ThermalConfig()
    tracking: TrackingConfig = TrackingConfig()
    law: LawConfig = LawConfig()
    earnings: EarningsConfig = EarningsConfig()

    @field_validator("splits", mode="before")
    @classmethod
    def _of_the_fold(cls, given: Any, info: ValidationInfo) -> Any:
        if not {"walk_forward", "origin"} <= info.data.keys():
            # They are refused themselves: any splits will do, so that none are complained of.
            anything = WalkForward(first_test=2000, test_years=1, validation_years=1, train_years=1)
            return given or anything.splits(2000)
        walk, origin = info.data["walk_forward"], info.data["origin"]
        if walk is None:
            if given is None:
                raise ValueError("required, and not given; allowed: splits, or walk_forward")
            return given
        of_the_fold = walk.splits(walk.first_test if origin is None else origin)
        if given not in (None, of_the_fold):
            raise ValueError("given beside walk_forward; allowed: one of them; drop the other one")
        return of_the_fold

    @model_validator(mode="after")
    def _recipes_of_sizes(self) -> "TrainingConfig":
        known = known_budgets(self.family)
        if strange := [budget for budget in self.recipes if budget not in known]:
            raise ValueError(f"recipes: got {strange[0]}; allowed: {', '.join(known)}")
        return self

    @property
    def random_seed(self) -> int:
        """What all random numbers of a training are drawn with.

        Each fold of a walk has its own. By the seed alone, all folds would begin with the same
        weights, and seeds would be no new draw from fold to fold, as the law takes them to be.
        """
        return self.seed if self.origin is None else FOLDS_APART * self.origin + self.seed

    @property
    def recipe(self) -> OptimiserConfig:
        """How this size is trained: the experiment's optimiser, with what it has of its own."""
        own = self.recipes.get(self.param_budget, OwnRecipe())
        asked = {key: value for key, value in vars(own).items() if value is not None}
        return dataclasses.replace(self.optimiser, **asked)


FOLDS_APART = 100_000  # no study has as many seeds


def load_config(
    path: str | Path, param_budget: str | None = None, seed: int | None = None, **others: Any
) -> TrainingConfig:
    """Read and check one experiment; what is given besides the path replaces the file's own.

    Raises `UserError` (a `ValueError`) with the file, the key, what was given and what is allowed.
    """
    path = Path(path)
    content, origins = read_extended(path, CONFIG_ROOT, either=("splits", "walk_forward"))
    if named := {"days", *NAME} & content.keys() - {"budget", "seed"}:
        raise UserError(
            f"{path}: {named.pop()}: not allowed in an experiment; put it into a grid, such as "
            "configs/two_axes.yaml, or give --train-days, --draw, --markets or --origin to "
            "scaling.train"
        )
    given = {"param_budget": param_budget, "seed": seed, **others}
    content |= {key: value for key, value in given.items() if value is not None}
    origins = {key: file for key, file in origins.items() if given.get(key) is None}
    config = build(TrainingConfig, content, path, origins)
    try:
        model_config_path(config.param_budget, config.family)
    except UserError as error:
        where = "".join(inherited_from(key, origins) for key in ("param_budget", "family"))
        raise UserError(f"{path}: {error}{where}") from None
    data = config.data
    asked = "assets" if isinstance(data, MarketsConfig) else "prices"
    needed = [(asked, market.prices, "fetch") for market in data.markets]
    needed += [("manifest", data.manifest, "fetch")]
    if data.tier == EXTERNAL:  # other features are built by the workflow
        needed += [("features", market.features, "prepare") for market in data.markets]
    for key, file, door in needed:
        if not file.is_file():
            raise UserError(
                f"{path}: data.{key}: {file} does not exist in {Path.cwd()}; paths start at the "
                f"repository root; to bring {key} in, type: python -m scaling.{door} --help"
                f"{inherited_from(f'data.{key}', origins)}"
            )
    return config


def as_dict(config: Any) -> dict[str, Any]:
    """A config as values for JSON, with dates and paths as text."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain
