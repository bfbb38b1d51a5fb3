"""Dropout's draws: their rate, their independence, and that nothing but their key decides them."""

import pytest
import torch

from scaling.training.draws import Draws, dropped


@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(p: float) -> None:
    n = 400_000
    mask, scale = dropped(Draws(3, 0, 0, 4).bits(0, n // 4), p, torch.float32)
    assert mask.mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    assert scale == pytest.approx(1 / (1 - p), rel=1e-3)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two masks drawn at rate one half."""
    return 4 * ((a - 0.5) * (b - 0.5)).mean().item()


def half(draws: Draws, site: int, each: int = 50_000) -> torch.Tensor:
    return dropped(draws.bits(site, each), 0.5, torch.float32).mask


def test_dropout_draws_neighbours_independently() -> None:
    mask = half(Draws(4, 0, 0, 8), 0).flatten()
    for lag in (1, 2, 3, 4, 8, 50_000):
        assert abs(correlation(mask[lag:], mask[:-lag])) < 5 / len(mask) ** 0.5, lag


@pytest.mark.parametrize(
    ("draws", "site"), [(Draws(5, 0, 0, 8), 0), (Draws(4, 1, 0, 8), 0), (Draws(4, 0, 0, 8), 1)]
)
def test_seeds_steps_and_sites_are_independent_of_each_other(draws: Draws, site: int) -> None:
    one, other = half(Draws(4, 0, 0, 8), 0), half(draws, site)
    assert abs(correlation(one, other)) < 5 / one.numel() ** 0.5


@pytest.mark.parametrize("each", [1, 3, 4, 1001])
@pytest.mark.parametrize("cut", [1, 2, 5, 8])
def test_a_sample_has_its_draws_wherever_the_batch_is_cut(each: int, cut: int) -> None:
    whole = Draws(6, 2, 0, 8).bits(3, each)
    pieces = [Draws(6, 2, first, min(cut, 8 - first)).bits(3, each) for first in range(0, 8, cut)]
    assert torch.equal(torch.cat(pieces), whole)
    assert len({tuple(row.tolist()) for row in whole}) == 8 or each < 4


def test_the_seed_for_torchs_own_dropout_differs_by_seed_step_and_place() -> None:
    keys = [(s, t, f) for s in (0, 1) for t in (0, 1) for f in (0, 1)]
    assert len({Draws(*key, 8).torch_seed for key in keys}) == 8
