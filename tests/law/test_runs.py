"""A study is read as a ladder, and one whose models cannot be compared is refused."""

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law.table import read_tables
from tests.law.worlds import BASE_RATE, fitted, sigmoid, study, world


def test_a_study_is_read_smallest_first_with_the_best_weights_and_the_training_base_rate():
    networks, baselines = study()
    found = read_tables(networks.sample(frac=1, random_state=1), baselines).ladder
    assert found.axes["parameters"].points == ["200k", "600k", "2m"]
    assert found.seeds == [[42, 43]] * 3
    assert found.base_rate == BASE_RATE
    assert found.losses[2].mean() < found.losses[0].mean() < 1.5
    assert found.dates.is_monotonic_increasing
    assert set(found.baselines) == {"base_rate", "logistic_regression"}


def is_run(rows, budget="2m", seed=43):
    return (rows["budget"] == budget) & (rows["seed"] == seed)


def one_day_missing(networks, baselines, split="test"):
    gone = networks[is_run(networks) & (networks["split"] == split)].index[-1]
    day = networks.loc[gone, "date"]
    return networks[~(is_run(networks) & (networks["date"] == day))], baselines


def other_label(networks, baselines):
    rows = networks[is_run(networks) & (networks["split"] == "test")].index[:1]
    changed = networks.copy()
    day = changed.loc[rows[0], "date"]
    changed.loc[is_run(changed) & (changed["date"] == day), "y"] = 1 - changed.loc[rows[0], "y"]
    return changed, baselines


def given_twice(networks, baselines):
    return pd.concat([networks, networks[is_run(networks)]]), baselines


def two_architectures(networks, baselines):
    return networks.assign(
        parameters=networks["parameters"].mask(is_run(networks), 6_400_000)
    ), baselines


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (one_day_missing, "2m seed 43 was judged on 259 test days and .* on 260"),
        (lambda n, b: one_day_missing(n, b, "validation"), "59 validation days"),
        (lambda n, b: (n, b[b["date"] != b["date"].max()]), "base_rate was judged on 259"),
        (other_label, "different labels"),
        (given_twice, "2m seed 43 has .* twice"),
        (lambda n, b: (n[n["budget"] == "2m"], b), "two or more different sizes"),
        (two_architectures, "2m stands for"),
        (lambda n, b: (n.assign(parameters=5), b), "two or more different sizes"),
        (lambda n, b: (n.assign(p=n["p"] * 4 - 2), b), r"outside \[0, 1\]"),
        (lambda n, b: (n.assign(p=n["p"].mask(n.index == 0)), b), r"outside \[0, 1\]"),
        (lambda n, b: (n.assign(y=n["y"] + 1), b), "labels other than"),
        (lambda n, b: (n.drop(columns="seed"), b), "no column seed"),
        (lambda n, b: (n[(n["split"] == "test") | ~is_run(n)], b), "43: no validation rows"),
        (lambda n, b: (n, b[b["model"] != "base_rate"]), "needed is one named base_rate"),
        (
            lambda n, b: (n, b.assign(p=sigmoid(b.index.to_numpy() / 1e3))),
            "always predicts the training",
        ),
        (lambda n, b: (n[:0], b), "no rows"),
    ],
    ids=[
        "days differ",
        "validation days differ",
        "baseline days differ",
        "labels differ",
        "a run twice",
        "one size",
        "one label, two counts",
        "two labels, one count",
        "logits",
        "NaN",
        "labels of 2",
        "no seed",
        "no validation",
        "no base rate",
        "a base rate that varies",
        "empty",
    ],
)
def test_a_study_whose_models_cannot_be_compared_is_refused(fault, message):
    with pytest.raises(UserError, match=message):
        read_tables(*fault(*study()))


def copied(networks, source, copy, change=lambda p: p):
    """The predictions of run `source` written under the name of run `copy`."""
    changed = networks.copy()
    changed.loc[is_run(networks, *copy), "p"] = change(
        networks.loc[is_run(networks, *source), "p"].to_numpy()
    )
    return changed


@pytest.mark.parametrize(
    ("source", "copy"),
    [(("2m", 42), ("2m", 43)), (("200k", 42), ("2m", 42)), (("600k", 43), ("200k", 42))],
    ids=["another seed", "another size", "another size and seed"],
)
@pytest.mark.parametrize(
    "change",
    [lambda p: p, lambda p: p.astype(np.float32), lambda p: p.round(6)],
    ids=["to the bit", "through fp32", "through six digits"],
)
def test_one_run_copied_as_another_is_refused_and_both_are_named(source, copy, change):
    networks, baselines = study()
    names = sorted(f"{budget} seed {seed}" for budget, seed in (source, copy))
    with pytest.raises(UserError, match=f"{names[0]} and {names[1]} predict the same"):
        read_tables(copied(networks, source, copy, change), baselines)


def test_seeds_that_agree_closely_but_are_two_are_accepted():
    networks, baselines = study()
    noise = np.random.default_rng(0).normal(0, 1e-4, is_run(networks).sum())
    change = lambda p: np.clip(p + noise, 0, 1)  # noqa: E731
    assert read_tables(copied(networks, ("2m", 42), ("2m", 43), change), baselines)


def test_a_copied_seed_would_have_turned_an_inconclusive_study_into_a_finding():
    losses = world(
        np.random.default_rng(1), slope=-0.004, seeds=2, seed=0.006, day=0.005, both=0.01
    )
    assert fitted(losses).parameters.verdict == "inconclusive"
    copies = [size[[0, 0]] for size in losses]
    assert fitted(copies).parameters.verdict == "improves"
