"""What an experiment asks for: YAML files checked against frozen dataclasses.

`TrainingConfig` is one experiment (`configs/daily/threshold_1pct.yaml`), `ModelConfig` is one
parameter budget (`configs/model/patchtst_2m.yaml`), and `GridConfig` is what `snakemake` builds.
The Snakefile imports this module for every plan, so it must not import torch.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from scaling.errors import UserError
from scaling.reading import build
from scaling.reading import read_yaml as read_yaml

CONFIG_ROOT = Path("configs")
MODEL_ROOT = CONFIG_ROOT / "model"
RESULTS_ROOT = Path("results")
TIER_ROOT = Path(__file__).parent / "data/tiers"
DEFAULT_TIER = "a20"
EXTERNAL = "external"  # the tier of a table that was made elsewhere: no module here builds it
FEATURES_FILE = re.compile(r".+_features_([a-z0-9]+)\.parquet")
DEFAULT_FAMILY = "patchtst"
# A number is written in one way only, so that two names never mean one run.
RUN_NAME = re.compile(
    r"(?P<budget>[a-z0-9]+)(\.(?P<draw>days|blocks)(?P<count>[1-9][0-9]*))?"
    r"(\.seed(?P<seed>0|[1-9][0-9]*))?"
)

# What a shell and a file system read as nothing but a name, whatever stands around it.
NAME_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


def safe_name(name: str | Path, key: str = "") -> str:
    """A name or path that is safe in a command line, as it is; any other is a `UserError`.

    The workflow puts the names of experiments and files into shell commands, and a config may come
    from somebody else. `key` is what the message calls the name.
    """
    parts = str(name).removeprefix("/").split("/")
    if ".." in parts or not all(NAME_PART.fullmatch(part) for part in parts):
        raise UserError(
            f"{key}{': ' if key else ''}got {str(name)!r}; allowed: letters from a to z, digits, "
            "_ . - and /, without a part that is .. or starts with -"
        )
    return str(name)


def known_tiers() -> list[str]:
    """The tiers of features. To add a tier, add a module."""
    return sorted(path.stem for path in TIER_ROOT.glob("[!_]*.py"))


def tier_named(features: Path) -> str:
    """`SPY_features_a20.parquet` -> `'a20'`; a name without a known tier is a `UserError`."""
    match = FEATURES_FILE.fullmatch(features.name)
    if match is None or match[1] not in (*known_tiers(), EXTERNAL):
        raise UserError(
            f"features: got {features}; allowed: a name such as SPY_features_{DEFAULT_TIER}.parquet"
            f" that ends in a tier: {', '.join(known_tiers())} (to add one, add a module to "
            f"scaling/data/tiers), or in {EXTERNAL} for a table that was made elsewhere"
        )
    return match[1]


CLOSED = ConfigDict(extra="forbid")
# Values are checked strictly: otherwise pydantic takes the text "3e-4" for a number, and yes for 1.
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Integer, Field(gt=0)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Multiplier = Annotated[Real, Field(gt=0)]
Flag = Annotated[bool, Field(strict=True)]
Seed = Annotated[Integer, Field(ge=0, lt=2**32)]
Dates = tuple[date, date]
Draw = Literal["recent", "blocks"]
SafePath = Annotated[Path, AfterValidator(lambda path: Path(safe_name(path)))]
SafeName = Annotated[str, AfterValidator(safe_name)]


@dataclass(frozen=True, config=CLOSED)
class DataConfig:
    """The files an experiment reads. The name of the features file carries their tier."""

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
class SplitConfig:
    """Chronological blocks by their first and last day; only `evaluate` reads the test block."""

    train: Dates
    validation: Dates
    test: Dates
    min_samples: Positive = 200
    min_positives: Positive = 10

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


@dataclass(frozen=True, config=CLOSED)
class OptimiserConfig:
    """AdamW with linear warm-up, cosine decay and gradient clipping.

    It is the experiment's, and a size multiplies some of it (`ModelConfig.recipe`). `batch_size` is
    the number of samples in an optimiser step, the same on every machine.
    """

    batch_size: Positive
    epochs: Positive
    learning_rate: Annotated[Real, Field(gt=0, lt=1)]
    weight_decay: Annotated[Real, Field(ge=0, lt=1000)]
    warmup_fraction: Annotated[Real, Field(ge=0, lt=1)]
    gradient_clip: Annotated[Real, Field(gt=0)]
    early_stopping_patience: Positive


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

    `delta` is a fraction of the base-rate entropy per decade of parameters.
    """

    delta: Annotated[Real, Field(gt=0, lt=1)] = 0.01
    bootstrap_samples: Annotated[Integer, Field(ge=200)] = 2000


@dataclass(frozen=True, config=CLOSED)
class TrainingConfig:
    """One experiment: everything that is asked for, and nothing that is found out.

    `train_days` is how many days of the training block are trained on, None for all. They are the
    most `recent` ones, or random calendar quarters (`blocks`), which the seed draws. A grid sets
    the two, and never an experiment's file, so that the name of a run says which days it has.
    """

    task: TaskConfig
    window: WindowConfig
    splits: SplitConfig
    optimiser: OptimiserConfig
    family: str = DEFAULT_FAMILY
    param_budget: str = "2m"
    seed: Seed = 42
    train_days: Positive | None = None
    days: Draw = "recent"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: Annotated[Real, Field(gt=0)] = 10.0
    data: DataConfig = DataConfig()
    thermal: ThermalConfig = ThermalConfig()
    tracking: TrackingConfig = TrackingConfig()
    law: LawConfig = LawConfig()

    @model_validator(mode="after")
    def _drawn_from_something(self) -> "TrainingConfig":
        if self.train_days is None and self.days != "recent":
            raise ValueError(
                f"days: got {self.days}, but no train_days; allowed: {self.days} of a number of "
                "days, for example train_days: 1000"
            )
        return self


# A size multiplies these settings of an experiment's optimiser.
MULTIPLIERS = ("learning_rate_multiplier", "weight_decay_multiplier", "epochs_multiplier")


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class ModelConfig:
    """The shape of one parameter budget. Each family of networks adds its own fields.

    A family is a class below and a module of its name in `scaling/training/families`. A learning
    rate, a weight decay and a number of epochs that are right for one size are wrong for another
    (Kim et al. 2025, arXiv 2509.14786), so each size has its multipliers.
    """

    family: ClassVar[str]
    d_model: Positive
    layers: Positive
    dropout: Annotated[Real, Field(ge=0, lt=1)]
    learning_rate_multiplier: Multiplier
    weight_decay_multiplier: Multiplier = 1.0
    epochs_multiplier: Multiplier = 1.0

    def recipe(self, asked: OptimiserConfig) -> OptimiserConfig:
        """The experiment's optimiser as this size is trained with it."""
        many = {
            name: max(1, round(getattr(asked, name) * self.epochs_multiplier))
            for name in ("epochs", "early_stopping_patience")
        }
        return dataclasses.replace(
            asked,
            learning_rate=asked.learning_rate * self.learning_rate_multiplier,
            weight_decay=asked.weight_decay * self.weight_decay_multiplier,
            **many,
        )

    def multiplied(self, factors: Mapping[str, float]) -> "ModelConfig":
        """The same shape with its multipliers times `factors`, which have the same names."""
        return dataclasses.replace(self, **{k: getattr(self, k) * v for k, v in factors.items()})


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class PatchTSTShape(ModelConfig):
    """PatchTST: `ffn_dim` is the width of the feed-forward part of each layer."""

    family: ClassVar[str] = "patchtst"
    heads: Positive
    ffn_dim: Positive

    @model_validator(mode="after")
    def _heads_divide(self) -> "PatchTSTShape":
        if self.d_model % self.heads:
            raise ValueError(f"heads {self.heads} does not divide d_model {self.d_model}")
        return self


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class PatchTSMixerShape(ModelConfig):
    """PatchTSMixer: the hidden layer of each MLP has `expansion_factor` times its inputs."""

    family: ClassVar[str] = "patchtsmixer"
    expansion_factor: Positive


FAMILIES = {shape.family: shape for shape in (PatchTSTShape, PatchTSMixerShape)}


class Run(NamedTuple):
    """One training of an experiment: a size, a seed, and the days that it is trained on."""

    budget: str
    seed: int
    train_days: int | None = None
    days: Draw = "recent"


def _number_of_days(given: Any) -> Any:
    if given != "all" and (type(given) is not int or given < 1):
        raise ValueError(f"got {given!r}; allowed: a number of days above 0, or `all`")
    return given


@dataclass(frozen=True, config=CLOSED)
class GridConfig:
    """What `snakemake` without a target builds: all combinations of these, for each experiment.

    A budget in `single_seed` has the first of the `seeds` only. `days` are the draws of each number
    in `train_days`. There is only one way to draw `all`.
    """

    experiments: Annotated[list[SafeName], Field(min_length=1)]
    budgets: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    single_seed: list[str] = dataclasses.field(default_factory=list)
    train_days: Annotated[
        list[Annotated[int | Literal["all"], BeforeValidator(_number_of_days)]], Field(min_length=1)
    ] = dataclasses.field(default_factory=lambda: ["all"])
    days: Annotated[list[Draw], Field(min_length=1)] = dataclasses.field(
        default_factory=lambda: ["recent"]
    )

    @model_validator(mode="after")
    def _consistent(self) -> "GridConfig":
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if twice := [v for v in values if values.count(v) > 1]:
                raise ValueError(f"{field.name}: {twice[0]} stands twice; keep one")
        if unknown := [budget for budget in self.single_seed if budget not in self.budgets]:
            raise ValueError(
                f"single_seed: got {unknown[0]}; allowed: budgets of this grid: "
                f"{', '.join(self.budgets)}"
            )
        if self.train_days == ["all"] and self.days != ["recent"]:
            raise ValueError(
                f"days: got {', '.join(self.days)}, but train_days has no number of days to draw; "
                "allowed: for example train_days: [1000, all]"
            )
        return self

    @property
    def runs(self) -> list[Run]:
        """The trainings of each experiment."""
        samples: list[tuple[int | None, Draw]] = []
        for number in self.train_days:
            samples += [(None, "recent")] if number == "all" else [(number, d) for d in self.days]
        return [
            Run(budget, seed, *sample)
            for budget in self.budgets
            for sample in samples
            for seed in self.seeds[: 1 if budget in self.single_seed else None]
        ]


# These keys cannot change a trained weight, so they are no part of what identifies a training.
NOT_TRAINING = ("thermal", "tracking", "law", "checkpoint_minutes")


def known_budgets(family: str = DEFAULT_FAMILY) -> list[str]:
    """A family's budgets, smallest first. To add a budget, add a file."""
    pattern = re.compile(rf"{family}_([0-9]+[kmb])\.yaml")
    found = [match[1] for p in MODEL_ROOT.glob("*.yaml") if (match := pattern.fullmatch(p.name))]
    return sorted(found, key=budget_parameters)


# The counted parameters of a model may differ from its label by this fraction of the label.
BUDGET_TOLERANCE = 0.05


def budget_parameters(budget: str) -> int:
    """The number a label stands for: `'200k'` -> 200_000, `'2m'` -> 2_000_000."""
    return int(budget[:-1]) * {"k": 10**3, "m": 10**6, "b": 10**9}[budget[-1]]


def model_config_path(budget: str, family: str = DEFAULT_FAMILY) -> Path:
    """The file that describes a budget's shape; an unknown family or budget is a `UserError`."""
    if family not in FAMILIES:
        raise UserError(f"family: got {family!r}; allowed: {', '.join(FAMILIES)}")
    path = MODEL_ROOT / f"{family}_{budget}.yaml"
    if budget not in known_budgets(family):
        raise UserError(
            f"param_budget: got {budget!r}; allowed for the family {family}: "
            f"{', '.join(known_budgets(family))} (to add one, add {path})"
        )
    return path


def load_model_config(budget: str, family: str = DEFAULT_FAMILY) -> ModelConfig:
    """The shape of one parameter budget."""
    path = model_config_path(budget, family)
    return build(FAMILIES[family], read_yaml(path), path)


def load_config(
    path: str | Path,
    param_budget: str | None = None,
    seed: int | None = None,
    train_days: int | None = None,
    days: str | None = None,
) -> TrainingConfig:
    """Read and check one experiment; `param_budget` and `seed` replace the file's own.

    Raises `UserError` (a `ValueError`) with the file, the key, what was given and what is allowed.
    """
    path = Path(path)
    content = read_yaml(path)
    if chosen := {"train_days", "days"} & content.keys():
        raise UserError(
            f"{path}: {chosen.pop()}: not allowed in an experiment; put it into a grid, such as "
            "configs/two_axes.yaml, or give --train-days and --days to scaling.train"
        )
    given = {"param_budget": param_budget, "seed": seed, "train_days": train_days, "days": days}
    content |= {key: value for key, value in given.items() if value is not None}
    config = build(TrainingConfig, content, path)
    try:
        model_config_path(config.param_budget, config.family)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    doors = {"prices": "fetch", "manifest": "fetch", "features": "prepare"}
    if config.data.tier != EXTERNAL:
        del doors["features"]  # the workflow builds them
    for key, door in doors.items():
        file = getattr(config.data, key)
        if not file.is_file():
            raise UserError(
                f"{path}: data.{key}: {file} does not exist in {Path.cwd()}; paths start at the "
                f"repository root; to bring {key} in, type: python -m scaling.{door} --help"
            )
    return config


def config_of_run(path: str | Path, record: Mapping[str, Any]) -> TrainingConfig:
    """The config of the run that a record tells of, as the experiment's file asks for it now."""
    trained = record.get("config", {})
    days = (trained.get("train_days"), trained.get("days"))
    return load_config(path, record["budget"], record["seed"], *days)


def load_grid(content: dict[str, Any], path: str | Path = "configs/grid.yaml") -> GridConfig:
    """Check a grid that Snakemake has parsed, and every experiment and budget that it names."""
    grid = build(GridConfig, content, Path(path))
    for experiment in grid.experiments:
        for budget in grid.budgets:
            config = load_config(experiment_path(experiment), budget)
            load_model_config(budget, config.family)
    return grid


def known_experiments(root: Path = CONFIG_ROOT) -> list[str]:
    """Every experiment: the YAML files in the folders of `configs/`, except the models'.

    A file whose name is not safe in a command line is a `UserError`.
    """
    found = [p for p in root.glob("*/**/*.yaml") if MODEL_ROOT not in p.parents]
    return sorted(safe_name(experiment_name(p), str(root)) for p in found)


def experiment_path(experiment: str) -> Path:
    """`'daily/threshold_1pct'` -> `configs/daily/threshold_1pct.yaml`."""
    return CONFIG_ROOT / f"{experiment}.yaml"


def experiment_name(config_path: str | Path) -> str:
    """The inverse of `experiment_path`; a file outside `configs/` is named by its stem."""
    path = Path(config_path).resolve()
    root = CONFIG_ROOT.resolve()
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return str(inside.with_suffix(""))


def run_name(run: Run, own_seed: int | None) -> str:
    """The name of a run's files: `2m`, `2m.seed43`, `2m.days1000`, `2m.blocks1000.seed43`.

    A run has no seed in its name if it has the config's own, and no days if it has all.
    """
    draw = {"recent": "days", "blocks": "blocks"}[run.days]
    sample = f".{draw}{run.train_days}" if run.train_days is not None else ""
    return run.budget + sample + (f".seed{run.seed}" if run.seed != own_seed else "")


def split_run_name(name: str, own_seed: int) -> Run:
    """The inverse of `run_name`; a name that it never gives is a `UserError`."""
    match = RUN_NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{name}: no name of a run; allowed: 2m, 2m.days1000, 2m.blocks1000.seed43")
    seed = own_seed if match["seed"] is None else int(match["seed"])
    days = int(match["count"]) if match["count"] else None
    run = Run(match["budget"], seed, days, "blocks" if match["draw"] == "blocks" else "recent")
    if (right := run_name(run, own_seed)) != name:
        raise UserError(f"{name}: seed {seed} is the config's own; its run is named `{right}`")
    return run


def features_record(features: Path, manifest: Path) -> Path:
    """What says how features were made: the JSON file beside them.

    The manifest says it of a table that was made elsewhere.
    """
    return manifest if tier_named(features) == EXTERNAL else features.with_suffix(".json")


def artefact(experiment: str, run: str, suffix: str) -> Path:
    """`('daily/threshold_1pct', '2m', 'ckpt')` -> `results/daily/threshold_1pct/2m.ckpt`."""
    return RESULTS_ROOT / experiment / f"{run}.{suffix}"


def resume_directory(experiment: str, run: str) -> Path:
    """Where a run keeps the states that it resumes from.

    Snakemake deletes the outputs of a job that fails, so it is told nothing of this folder.
    """
    return RESULTS_ROOT / ".resume" / experiment / run


def as_dict(config: Any) -> dict[str, Any]:
    """A config as values for JSON, with dates and paths as text."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def what_trains(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config, given as `as_dict` gives it, that a trained weight depends on.

    How days are drawn counts only where some of them are.
    """
    asked = {key: value for key, value in config.items() if key not in NOT_TRAINING}
    if asked.get("train_days") is None:
        asked = {key: value for key, value in asked.items() if key not in ("train_days", "days")}
    return asked


def training_identity(config: TrainingConfig, model: ModelConfig) -> dict[str, Any]:
    """Everything in the two configs that a trained weight depends on."""
    return {"training": what_trains(as_dict(config)), "model": as_dict(model)}
