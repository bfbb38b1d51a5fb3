"""How a model of one size is trained: the experiment's optimiser with the size's multipliers."""

from dataclasses import dataclass, replace

from pydantic import ValidationError

from scaling.config import TrainingConfig
from scaling.errors import UserError
from scaling.sizes import ModelConfig, OptimiserConfig


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, whatever the machine. The learning rate is the highest one."""

    optimiser: OptimiserConfig
    seed: int


def recipe_of(config: TrainingConfig, shape: ModelConfig) -> Recipe:
    """The experiment's optimiser with the multipliers of the size, and the config's seed.

    Patience is counted in epochs, so it grows with them. Raises `UserError` for a multiplier that
    carries a setting out of its range.
    """
    asked, longer = config.optimiser, shape.epochs_multiplier
    try:
        optimiser = replace(
            asked,
            learning_rate=asked.learning_rate * shape.learning_rate_multiplier,
            weight_decay=asked.weight_decay * shape.weight_decay_multiplier,
            epochs=max(1, round(asked.epochs * longer)),
            early_stopping_patience=max(1, round(asked.early_stopping_patience * longer)),
        )
    except ValidationError as error:
        (fault, *_) = error.errors()
        raise UserError(
            f"{fault['loc'][0]}: got {fault['input']:g} for {config.param_budget}, the "
            f"experiment's times the budget's multiplier; {fault['msg'].lower()}"
        ) from None
    return Recipe(optimiser, config.seed)
