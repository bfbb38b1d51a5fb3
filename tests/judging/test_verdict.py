"""What may be claimed of a slope, and what a study could have seen."""

import numpy as np
import pytest

from scaling.judging.effects import Effect
from scaling.judging.verdict import sensitivity
from tests.judging.worlds import fitted, world


def test_a_clear_fall_improves_and_a_clear_rise_is_inverse_scaling():
    rng = np.random.default_rng(7)
    assert fitted(world(rng, slope=-0.02))["verdict"] == "improves"
    assert fitted(world(rng, slope=+0.02))["verdict"] == "inverse scaling"


def test_a_precise_nothing_is_equivalent_and_a_vague_one_is_inconclusive():
    precise = fitted(world(np.random.default_rng(8), day=1e-3, seed=1e-4, both=1e-3))
    vague = fitted(world(np.random.default_rng(8), day=0.1, seed=0.02))
    assert precise["verdict"] == "equivalent to no effect"
    assert precise["smallest_detectable_effect"] < precise["delta"]
    assert vague["verdict"] == "inconclusive"
    assert vague["smallest_detectable_effect"] > vague["delta"]
    assert "would probably have been missed, and seeing 0.0061 takes" in vague["sentence"]


def effect_with(day_variance, seed_variance):
    return Effect(0.0, np.zeros(1), day_variance, seed_variance, freedom=1e9)


def test_twice_the_days_are_asked_for_when_the_days_variance_is_twice_what_delta_allows():
    allowed = (0.006 / 2.8016) ** 2
    needs = sensitivity(effect_with(2 * allowed, 0.0), 0.006, days=1000, seeds=3)
    assert needs["days_needed"] == pytest.approx(2000, abs=2)
    assert needs["seeds_needed"] is None
    needs = sensitivity(effect_with(allowed / 2, 1.0001 * allowed), 0.006, days=1000, seeds=3)
    assert (needs["days_needed"], needs["seeds_needed"]) == (None, 7)
    assert "spread between seeds" in needs["days_needed_note"]
