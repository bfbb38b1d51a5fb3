"""The sizes of networks: one file in `configs/model` is one parameter budget of one family.

A size is a shape. How it is trained is the experiment's, and one recipe serves all sizes
(scaling/training/transfer.py).
"""

import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from scaling.errors import UserError
from scaling.names import MODEL_ROOT
from scaling.reading import CLOSED, Positive, Real, build, read_yaml

DEFAULT_FAMILY = "patchtst"


Rate = Annotated[Real, Field(gt=0, lt=1)]
Decay = Annotated[Real, Field(ge=0, lt=1000)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Norm = Annotated[Real, Field(gt=0)]


@dataclass(frozen=True, config=CLOSED)
class OptimiserConfig:
    """AdamW with linear warm-up, cosine decay and gradient clipping.

    `learning_rate` is that of the family's base size. `batch_size` is the number of samples in an
    optimiser step, the same on every machine.
    """

    batch_size: Positive
    epochs: Positive
    learning_rate: Rate
    weight_decay: Decay
    warmup_fraction: Share
    gradient_clip: Norm


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class OwnRecipe:
    """What one size of an experiment has instead of the experiment's optimiser."""

    epochs: Positive | None = None
    learning_rate: Rate | None = None
    weight_decay: Decay | None = None
    warmup_fraction: Share | None = None
    gradient_clip: Norm | None = None


@dataclass(frozen=True, config=CLOSED, kw_only=True)
class ModelConfig:
    """The shape of one parameter budget. Each family of networks adds its own fields.

    A family is a class below and a module of its name in `scaling/training/families`. Matrices of
    the family's base are drawn with `initial_deviation`, which is Hugging Face's own.
    """

    family: ClassVar[str]
    d_model: Positive
    layers: Positive
    dropout: Share
    initial_deviation: Rate = 0.02


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
