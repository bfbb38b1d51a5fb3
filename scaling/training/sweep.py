"""The search of one budget's learning rate on the validation block."""

from collections.abc import Callable

# Factors of two around the width rule, the same number of trials for every rung of a ladder.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST_EXTENSIONS = 2


def best_of(losses: dict[float, float]) -> tuple[float, bool]:
    """The multiplier with the lowest log-loss, and whether others were tried on both sides."""
    best = min(losses, key=lambda multiplier: losses[multiplier])
    return best, min(losses) < best < max(losses)


def search(loss_of: Callable[[float], float], centre: float) -> dict[float, float]:
    """Log-loss of each multiplier tried around `centre`, in order of trial.

    Where the best lies at an edge the search goes on beyond it, `MOST_EXTENSIONS` times at most.
    """
    losses = {centre * factor: loss_of(centre * factor) for factor in FACTORS}
    for _ in range(MOST_EXTENSIONS):
        best, interior = best_of(losses)
        if interior:
            break
        further = best * 2 if best == max(losses) else best / 2
        losses[further] = loss_of(further)
    return losses
