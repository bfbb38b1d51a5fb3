"""Each budget's label is what its shape counts, and a label that lies is refused."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PatchTSTForClassification

from scaling.config import budget_parameters, known_budgets, load_config, load_model_config
from scaling.errors import UserError
from scaling.training.model import (
    build_model,
    check_budget,
    count_parameters,
    hf_config,
    training_flops,
)

WINDOW = load_config("configs/daily/threshold_1pct.yaml").window
CHANNELS = 20


def counted(budget: str) -> int:
    with torch.device("meta"):
        return count_parameters(build_model(load_model_config(budget), WINDOW, CHANNELS))


def assert_within_budget(budget: str) -> None:
    assert counted(budget) == pytest.approx(budget_parameters(budget), rel=0.05)
    check_budget(budget, counted(budget))


def test_count_parameters_helper_accurate() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 1, bias=False))
    net[1].bias.requires_grad_(False)
    assert count_parameters(net) == (3 * 5 + 5) + 5 + 5


def test_patchtst_2m_config_params_within_budget() -> None:
    assert_within_budget("2m")


def test_patchtst_20m_config_params_within_budget() -> None:
    assert_within_budget("20m")


def test_patchtst_200m_config_params_within_budget() -> None:
    assert_within_budget("200m")


@pytest.mark.parametrize("budget", sorted({*known_budgets()} - {"2m", "20m", "200m"}))
def test_every_other_shipped_budget_counts_what_its_label_says(budget: str) -> None:
    assert_within_budget(budget)


def test_patchtst_forward_pass_output_shape() -> None:
    model = build_model(load_model_config("200k"), WINDOW, CHANNELS).eval()
    assert model(torch.randn(3, WINDOW.context_length, CHANNELS)).shape == (3, 1)


@pytest.mark.parametrize("parameters", [230_000, 1_899_999, 2_100_001, 6_400_000])
def test_a_label_more_than_five_percent_off_is_refused_with_both_numbers(parameters: int) -> None:
    with pytest.raises(UserError, match=f"2m counts {parameters:,}.*1,900,000 to 2,100,000"):
        check_budget("2m", parameters)


@pytest.mark.parametrize("parameters", [1_900_000, 2_100_000])
def test_five_percent_off_is_within_the_label(parameters: int) -> None:
    check_budget("2m", parameters)


def test_flops_of_a_training_step_are_six_per_parameter_and_token_within_two_percent() -> None:
    shape = load_model_config("20m")
    tokens = CHANNELS * WINDOW.context_length // WINDOW.patch_length
    assert training_flops(shape, WINDOW, CHANNELS) == pytest.approx(
        6 * counted("20m") * tokens, rel=0.02
    )


@pytest.mark.parametrize("budget", ["200k", "600k", "2m"])
def test_flops_are_those_that_torch_counts_in_hugging_faces_own_model(budget: str) -> None:
    shape = load_model_config(budget)
    model = PatchTSTForClassification(hf_config(shape, WINDOW, CHANNELS))
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(1, WINDOW.context_length, CHANNELS)).prediction_logits.sum().backward()
    counted_flops = counter.get_total_flops()
    assert training_flops(shape, WINDOW, CHANNELS) == pytest.approx(counted_flops, rel=0.01)


def test_twice_the_channels_are_twice_the_flops() -> None:
    shape = load_model_config("2m")
    once, twice = (training_flops(shape, WINDOW, n) for n in (20, 40))
    assert twice == 2 * once


def test_a_shape_outside_its_budget_is_refused_when_counted() -> None:
    wide = dataclasses.replace(load_model_config("2m"), ffn_dim=2048)
    with torch.device("meta"):
        parameters = count_parameters(build_model(wide, WINDOW, CHANNELS))
    with pytest.raises(UserError, match="ffn_dim"):
        check_budget("2m", parameters)
