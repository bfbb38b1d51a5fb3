"""Each budget's label is what its shape counts, and a label that lies is refused."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PatchTSTForClassification

from scaling.config import load_config
from scaling.errors import UserError
from scaling.sizes import (
    DEFAULT_FAMILY,
    FAMILIES,
    budget_parameters,
    known_budgets,
    load_model_config,
)
from scaling.training.model import (
    build_model,
    check_budget,
    count_parameters,
    count_without_embeddings,
    training_flops,
)

WINDOW = load_config("configs/daily/threshold_1pct.yaml").window
CHANNELS = 20
SHIPPED = [(family, budget) for family in FAMILIES for budget in known_budgets(family)]


def counted(budget: str, family: str = DEFAULT_FAMILY) -> int:
    with torch.device("meta"):
        shape = load_model_config(budget, family)
        return count_parameters(build_model(shape, WINDOW, CHANNELS))


def assert_within_budget(budget: str, family: str = DEFAULT_FAMILY) -> None:
    parameters = counted(budget, family)
    assert parameters == pytest.approx(budget_parameters(budget), rel=0.05)
    check_budget(budget, family, parameters)


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


@pytest.mark.parametrize(("family", "budget"), SHIPPED)
def test_every_shipped_budget_counts_what_its_label_says(family: str, budget: str) -> None:
    assert_within_budget(budget, family)


def test_the_second_family_has_a_ladder_from_200k_to_2m() -> None:
    assert known_budgets("patchtsmixer") == ["200k", "600k", "2m"]


def test_patchtst_forward_pass_output_shape() -> None:
    assert_one_logit_a_window(DEFAULT_FAMILY)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {DEFAULT_FAMILY}))
def test_every_other_family_gives_one_logit_a_window(family: str) -> None:
    assert_one_logit_a_window(family)


def assert_one_logit_a_window(family: str) -> None:
    model = build_model(load_model_config("200k", family), WINDOW, CHANNELS).eval()
    assert model(torch.randn(3, WINDOW.context_length, CHANNELS)).shape == (3, 1)


@pytest.mark.parametrize("parameters", [230_000, 1_899_999, 2_100_001, 6_400_000])
def test_a_label_more_than_five_percent_off_is_refused_with_both_numbers(parameters: int) -> None:
    said = f"2m counts {parameters:,}.*1,900,000 to 2,100,000.*configs/model/patchtst_2m.yaml"
    with pytest.raises(UserError, match=said):
        check_budget("2m", DEFAULT_FAMILY, parameters)


@pytest.mark.parametrize("parameters", [1_900_000, 2_100_000])
def test_five_percent_off_is_within_the_label(parameters: int) -> None:
    check_budget("2m", DEFAULT_FAMILY, parameters)


SMALL = [(family, budget) for family, budget in SHIPPED if budget in ("200k", "600k", "2m")]


@pytest.mark.parametrize(("family", "budget"), SMALL)
def test_flops_are_those_that_torch_counts_in_hugging_faces_own_model(
    family: str, budget: str
) -> None:
    shape = load_model_config(budget, family)
    model = build_model(shape, WINDOW, CHANNELS)
    if family == "patchtst":  # ours takes shortcuts
        model = PatchTSTForClassification(model.config)
    with FlopCounterMode(display=False) as counter:
        made = model(torch.randn(1, WINDOW.context_length, CHANNELS))
        getattr(made, "prediction_logits", made).sum().backward()
    flops = counter.get_total_flops()
    assert training_flops(shape, WINDOW, CHANNELS) == pytest.approx(flops, rel=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_twice_the_channels_are_twice_the_flops(family: str) -> None:
    shape = load_model_config("2m", family)
    once, twice = (training_flops(shape, WINDOW, n) for n in (20, 40))
    assert twice == 2 * once


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embedding_is_one_vector_for_each_day_of_a_patch_and_a_bias(family: str) -> None:
    shape = load_model_config("200k", family)
    with torch.device("meta"):
        model = build_model(shape, WINDOW, CHANNELS)
    embedding = count_parameters(model) - count_without_embeddings(shape, model)
    assert embedding == (WINDOW.patch_length + 1) * shape.d_model
