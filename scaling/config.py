"""What an experiment asks for: YAML files checked against frozen dataclasses.

`TrainingConfig` is one experiment (`configs/daily/threshold_1pct.yaml`), `ModelConfig` one
parameter budget (`configs/model/patchtst_2m.yaml`), `GridConfig` what `snakemake` builds.
No torch here: the Snakefile imports this module each time the graph is built.
"""

import dataclasses
import difflib
import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from scaling.errors import UserError

CONFIG_ROOT = Path("configs")
MODEL_ROOT = CONFIG_ROOT / "model"
RESULTS_ROOT = Path("results")
MODEL_FILE = re.compile(r"patchtst_([0-9]+[kmb])\.yaml")

CLOSED = ConfigDict(extra="forbid")
# Strict leaves: lax mode would take the text "3e-4" for a number and `yes` for 1.
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Integer, Field(gt=0)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Dates = tuple[date, date]


@dataclass(frozen=True, config=CLOSED)
class DataConfig:
    """The files an experiment reads."""

    prices: Path = Path("data/raw/SPY.parquet")
    features: Path = Path("data/processed/v1/SPY_features_a20.parquet")
    manifest: Path = Path("data/manifest.json")


@dataclass(frozen=True, config=CLOSED)
class TaskConfig:
    """The question: does the close rise by `threshold` (a fraction) within `horizon` days?"""

    threshold: Annotated[Real, Field(gt=0, lt=0.5)]
    horizon: Annotated[Integer, Field(ge=1, le=250)]


@dataclass(frozen=True, config=CLOSED)
class WindowConfig:
    """What a model sees: `context_length` days, cut into patches that do not overlap.

    `warmup` leading rows of the feature table are never a sample's day.
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
                f"{self.context_length - 1}, or the first windows would reach before the data"
            )
        return self


@dataclass(frozen=True, config=CLOSED)
class SplitConfig:
    """Chronological blocks, first and last day inclusive; only `evaluate` reads `test`."""

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

    `learning_rate` is the experiment's; each budget multiplies it (`ModelConfig`).
    `batch_size` is samples per optimiser step on every machine; the micro-batch is hardware.
    """

    batch_size: Positive
    epochs: Positive
    learning_rate: Annotated[Real, Field(gt=0, lt=1)]
    weight_decay: Annotated[Real, Field(ge=0, lt=1)]
    warmup_fraction: Annotated[Real, Field(ge=0, lt=1)]
    gradient_clip: Annotated[Real, Field(gt=0)]
    early_stopping_patience: Positive


@dataclass(frozen=True, config=CLOSED)
class ThermalConfig:
    """Levels in degrees Celsius: below `acceptable` is normal, at `critical` training stops."""

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
    """Which trackers mirror the local record. `mlflow_uri` null: sqlite under results/."""

    mlflow: Flag = True
    mlflow_uri: str | None = None
    wandb: Flag = False
    wandb_project: str = "market-scaling"


@dataclass(frozen=True, config=CLOSED)
class LawConfig:
    """Pre-registered before any test row is read: what counts as an effect.

    `delta` is a fraction of the base-rate entropy per decade of parameters.
    """

    delta: Annotated[Real, Field(gt=0, lt=1)] = 0.01
    bootstrap_samples: Annotated[Integer, Field(ge=200)] = 2000


@dataclass(frozen=True, config=CLOSED)
class TrainingConfig:
    """One experiment: everything asked for, nothing found out."""

    task: TaskConfig
    window: WindowConfig
    splits: SplitConfig
    optimiser: OptimiserConfig
    param_budget: str = "2m"
    seed: Annotated[Integer, Field(ge=0, lt=2**32)] = 42
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: Annotated[Real, Field(gt=0)] = 10.0
    data: DataConfig = DataConfig()
    thermal: ThermalConfig = ThermalConfig()
    tracking: TrackingConfig = TrackingConfig()
    law: LawConfig = LawConfig()


@dataclass(frozen=True, config=CLOSED)
class ModelConfig:
    """One parameter budget's shape, and what that shape does to the learning rate."""

    d_model: Positive
    layers: Positive
    heads: Positive
    ffn_dim: Positive
    dropout: Annotated[Real, Field(ge=0, lt=1)]
    learning_rate_multiplier: Annotated[Real, Field(gt=0)]

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelConfig":
        if self.d_model % self.heads:
            raise ValueError(f"heads {self.heads} does not divide d_model {self.d_model}")
        return self


@dataclass(frozen=True, config=CLOSED)
class GridConfig:
    """Which experiments x budgets x seeds the bare `snakemake` builds."""

    experiments: Annotated[list[str], Field(min_length=1)]
    budgets: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[Integer, Field(ge=0, lt=2**32)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> "GridConfig":
        for name in ("experiments", "budgets", "seeds"):
            values = getattr(self, name)
            if twice := [v for v in values if values.count(v) > 1]:
                raise ValueError(f"{name}: {twice[0]} stands twice; keep one")
        return self


# What cannot change a trained weight: left out of the fingerprint, so changing it retrains nothing.
NOT_TRAINING = ("thermal", "tracking", "law", "checkpoint_minutes")


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys without a word; this one refuses."""

    def construct_mapping(self, node: yaml.MappingNode, deep: Flag = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise UserError(
                    f"{self.name}:{key_node.start_mark.line + 1}: key `{key}` stands twice; "
                    "keep one of them"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Parse one YAML mapping; duplicate keys and syntax errors are a `UserError`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file{_nearby(path)}")
    with path.open() as stream:
        loader = _UniqueKeyLoader(stream)
        loader.name = str(path)
        try:
            content = loader.get_single_data()
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        finally:
            loader.dispose()
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, must hold `key: value` lines")
    return content


def _nearby(path: Path) -> str:
    """The configs that do exist, for a path that does not."""
    found = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; found there: {', '.join(found)}" if found else ""


def _field_names(schema: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys allowed where an unknown one was found."""
    for part in location:
        field = next((f for f in dataclasses.fields(schema) if f.name == part), None)
        if field is None or not dataclasses.is_dataclass(field.type):
            return []
        schema = field.type
    return [f.name for f in dataclasses.fields(schema)]


def _explain(error: ValidationError, path: Path, schema: Any) -> str:
    """Every complaint as `file: key: what was found, what is allowed`, on one line."""
    lines = []
    for item in error.errors():
        location = tuple(part for part in item["loc"] if not str(part).startswith("function-"))
        key = ".".join(str(part) for part in location) or "(top level)"
        given = item["input"]
        if item["type"] == "unexpected_keyword_argument":
            allowed = _field_names(schema, location[:-1])
            close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            lines.append(f"{key}: unknown key; {hint}allowed: {', '.join(allowed)}")
        elif item["type"] in ("missing", "missing_argument"):
            lines.append(f"{key}: required, and not given")
        elif item["type"] == "value_error":
            lines.append(f"{key}: {item['ctx']['error']}")
        else:
            hint = ""
            if isinstance(given, str) and re.fullmatch(r"[+-]?[\d.]+[eE][+-]?\d+", given):
                hint = f"; YAML reads {given} as text, write {float(given)!r}"
            elif key == "task.threshold" and isinstance(given, (int, float)) and given >= 0.5:
                hint = f"; a threshold is a fraction: {given} % is {given / 100:g}"
            elif isinstance(given, bool):
                hint = "; YAML reads yes, no, on and off as true or false: quote it if it is text"
            lines.append(f"{key}: got {given!r}; {item['msg']}{hint}")
    return f"{path}: " + " | ".join(lines)


T = TypeVar("T")


def _build(schema: type[T], content: dict[str, Any], path: Path) -> T:
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        raise UserError(_explain(error, path, schema)) from None


def known_budgets(root: Path = MODEL_ROOT) -> list[str]:
    """Budgets that have a YAML file, smallest first: adding a budget means adding a file."""
    found = [match[1] for p in root.glob("*.yaml") if (match := MODEL_FILE.fullmatch(p.name))]
    return sorted(found, key=budget_parameters)


# The counted parameters of a model may differ from its label by this fraction of the label.
BUDGET_TOLERANCE = 0.05


def budget_parameters(budget: str) -> int:
    """The number a label stands for: `'200k'` -> 200_000, `'2m'` -> 2_000_000."""
    return int(budget[:-1]) * {"k": 10**3, "m": 10**6, "b": 10**9}[budget[-1]]


def model_config_path(budget: str) -> Path:
    """Where a budget's shape is described; an unknown budget is a `UserError`."""
    if budget not in known_budgets():
        raise UserError(
            f"param_budget: got {budget!r}; allowed: {', '.join(known_budgets())} "
            f"(to add one, add {MODEL_ROOT}/patchtst_{budget}.yaml)"
        )
    return MODEL_ROOT / f"patchtst_{budget}.yaml"


def load_model_config(budget: str) -> ModelConfig:
    """The shape of one parameter budget."""
    path = model_config_path(budget)
    return _build(ModelConfig, read_yaml(path), path)


def load_config(
    path: str | Path, param_budget: str | None = None, seed: int | None = None
) -> TrainingConfig:
    """Read and check one experiment; `param_budget` and `seed` override the file's own.

    Raises `UserError` (a `ValueError`) naming the file, the key, what was given, what is allowed.
    """
    path = Path(path)
    content = read_yaml(path)
    if param_budget is not None:
        content["param_budget"] = param_budget
    if seed is not None:
        content["seed"] = seed
    config = _build(TrainingConfig, content, path)
    try:
        model_config_path(config.param_budget)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    for key in ("prices", "manifest"):  # features are built from these by the workflow
        file = getattr(config.data, key)
        if not file.is_file():
            raise UserError(
                f"{path}: data.{key}: {file} does not exist (paths start at the repository root, "
                f"now {Path.cwd()}); register prices with: python -m scaling.fetch SPY --help"
            )
    return config


def load_grid(content: dict[str, Any], path: str | Path = "configs/grid.yaml") -> GridConfig:
    """Check a grid (already parsed by Snakemake) and every experiment and budget it names."""
    grid = _build(GridConfig, content, Path(path))
    for experiment in grid.experiments:
        load_config(experiment_path(experiment))
    for budget in grid.budgets:
        load_model_config(budget)
    return grid


def known_experiments(root: Path = CONFIG_ROOT) -> list[str]:
    """Every shipped experiment: the YAML files in folders of `configs/`, the models' apart."""
    found = [p for p in root.glob("*/**/*.yaml") if MODEL_ROOT not in p.parents]
    return sorted(experiment_name(p) for p in found)


def experiment_path(experiment: str) -> Path:
    """`'daily/threshold_1pct'` -> `configs/daily/threshold_1pct.yaml`."""
    return CONFIG_ROOT / f"{experiment}.yaml"


def experiment_name(config_path: str | Path) -> str:
    """The inverse of `experiment_path`; a file outside `configs/` is named by its stem."""
    path = Path(config_path).resolve()
    root = CONFIG_ROOT.resolve()
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return str(inside.with_suffix(""))


def run_name(budget: str, seed: int, own_seed: int) -> str:
    """`'2m'` for the config's own seed, `'2m.seed43'` for a replicate."""
    return budget if seed == own_seed else f"{budget}.seed{seed}"


def split_run_name(run: str, own_seed: int) -> tuple[str, int]:
    """The inverse of `run_name`."""
    budget, _, seed = run.partition(".seed")
    if seed and int(seed) == own_seed:
        raise UserError(f"{run}: seed {seed} is the config's own; its run is named `{budget}`")
    return budget, int(seed) if seed else own_seed


def features_record(features: Path) -> Path:
    """Where the record of a features file stands: beside it, `.json`."""
    return features.with_suffix(".json")


def artefact(experiment: str, run: str, suffix: str) -> Path:
    """`('daily/threshold_1pct', '2m', 'ckpt')` -> `results/daily/threshold_1pct/2m.ckpt`."""
    return RESULTS_ROOT / experiment / f"{run}.{suffix}"


def resume_directory(experiment: str, run: str) -> Path:
    """Where a run keeps what it needs to go on after a kill; unknown to Snakemake on purpose."""
    return RESULTS_ROOT / ".resume" / experiment / run


def as_dict(config: Any) -> dict[str, Any]:
    """A config as JSON-ready values: dates and paths as text."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def training_identity(config: TrainingConfig, model: ModelConfig) -> dict[str, Any]:
    """All of the two configs that a trained weight depends on."""
    asked = {k: v for k, v in as_dict(config).items() if k not in NOT_TRAINING}
    return {"training": asked, "model": as_dict(model)}
