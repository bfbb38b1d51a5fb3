"""The law of a study: what it holds, computed from all its networks on the same days."""

import json
from dataclasses import replace

import numpy as np
import pytest

from scaling.errors import UserError
from scaling.law.judge import fit_study
from scaling.law.result import as_json, law_from, read_law
from scaling.law.table import read_tables
from tests.law.worlds import BASE_RATE, FIVE, SETTINGS, fitted, study, study_of_days, world


def test_delta_is_a_fraction_of_the_entropy_of_the_training_base_rate():
    law = fit_study(read_tables(*study()), SETTINGS)
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7)
    assert law.delta_nats == pytest.approx(0.01 * entropy)
    assert law.ladder.parameters.contrasts[0].equivalence_bound == law.delta_nats


@pytest.mark.parametrize("draws", [("recent",), ("recent", "blocks")])
def test_a_law_that_is_written_is_read_back_as_it_was(draws):
    """No estimate turns into text, and none is lost."""
    for frames in (study(), study_of_days(draws=draws)):
        law = fit_study(read_tables(*frames), SETTINGS, "daily/planted")
        assert law_from(json.loads(json.dumps(as_json(law), allow_nan=False))) == law


def test_what_is_not_a_law_is_refused_with_the_key_that_is_wrong(tmp_path):
    law = as_json(fit_study(read_tables(*study()), SETTINGS))
    law["ladder"]["axes"]["parameters"]["slope"]["p_value"] = "small"
    (tmp_path / "law.json").write_text(json.dumps(law))
    with pytest.raises(UserError, match="law.json: not the law .*p_value.*make it again: snakem"):
        read_law(tmp_path / "law.json")


def test_contrasts_are_paired_by_day_and_adjusted_over_all_pairs():
    result = fitted(world(13, slope=-0.02))
    contrasts = result.parameters.contrasts
    pairs = [(c.smaller, c.larger) for c in contrasts]
    assert pairs == [("200000", "600000"), ("200000", "2e+06"), ("600000", "2e+06")]
    assert all(c.p_holm >= c.p_value for c in contrasts)
    assert np.ptp(contrasts[0].interval95) < 0.1
    small, middle, _ = result.cells
    assert contrasts[0].difference == pytest.approx(middle.log_loss - small.log_loss)


def test_networks_that_all_collapsed_to_the_base_rate_give_a_result_without_nan():
    networks, baselines = study(days=100)
    jitter = np.random.default_rng(4).normal(0, 1e-4, len(networks))
    tables = read_tables(networks.assign(p=BASE_RATE + jitter), baselines)
    law = fit_study(tables, replace(SETTINGS, samples=200))
    json.dumps(as_json(law), allow_nan=False)
    assert law.ladder.parameters.verdict == "equivalent to no effect"
    assert law.ladder.cells[0].skill == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("place", [0, 2, 4], ids=["smallest", "middle", "largest"])
@pytest.mark.parametrize("extreme", [-0.5, 0.5], ids=["far better", "far worse"])
@pytest.mark.parametrize("slope", [-0.02, 0.0, 0.02])
def test_a_size_with_one_seed_cannot_change_the_verdict_however_extreme(place, extreme, slope):
    losses = world(21, slope=slope, parameters=FIVE)
    losses[place] = losses[place][:1] + extreme
    others = [index for index in range(5) if index != place]
    with_it = fitted(losses, FIVE)
    without = fitted([losses[index] for index in others], FIVE[others])
    assert with_it.axes == without.axes
    assert with_it.shapes == without.shapes
    assert with_it.parameters.verdict != "inconclusive" or slope == 0
    cell = with_it.cells[place]
    assert len(cell.seeds) == 1
    low, high = cell.skill_interval95
    assert low < cell.skill < high
