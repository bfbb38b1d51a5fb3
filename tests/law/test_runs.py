"""A study is read as a ladder and surfaces, and one that cannot be compared is refused."""

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law.table import read_tables
from tests.law.worlds import BASE_RATE, fitted, study, study_of_days, world


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


def changed(**values):
    """A fault that sets columns of the networks' rows to functions of the rows."""
    return lambda n, b: (n.assign(**values), b)


FAULTS = {
    "days differ": (one_day_missing, "2m seed 43 was judged on 259 test days and .* on 260"),
    "validation days differ": (
        lambda n, b: one_day_missing(n, b, "validation"),
        "59 validation days",
    ),
    "baseline days differ": (
        lambda n, b: (n, b[b["date"] != b["date"].max()]),
        "base_rate was judged on 259",
    ),
    "labels differ": (other_label, "different labels"),
    "a run twice": (given_twice, "2m seed 43 has .* twice"),
    "one size": (lambda n, b: (n[n["budget"] == "2m"], b), "two or more different sizes"),
    "one label, two counts": (
        changed(parameters=lambda n: n["parameters"].mask(is_run(n), 6_400_000)),
        "2m stands for",
    ),
    "two labels, one count": (changed(parameters=5), "two or more different sizes"),
    "logits": (changed(p=lambda n: n["p"] * 4 - 2), r"outside \[0, 1\]"),
    "NaN": (changed(p=lambda n: n["p"].mask(n.index == 0)), r"outside \[0, 1\]"),
    "labels of 2": (changed(y=lambda n: n["y"] + 1), "labels other than"),
    "no seed": (lambda n, b: (n.drop(columns="seed"), b), "no column seed"),
    "no validation": (
        lambda n, b: (n[(n["split"] == "test") | ~is_run(n)], b),
        "43: no validation rows",
    ),
    "no base rate": (lambda n, b: (n, b[b["model"] != "base_rate"]), "base_rate is missing"),
    "empty": (lambda n, b: (n[:0], b), "no rows"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS)
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
    ("source", "copy", "change"),
    [
        (("2m", 42), ("2m", 43), lambda p: p),
        (("200k", 42), ("2m", 42), lambda p: p.astype(np.float32)),
        (("600k", 43), ("200k", 42), lambda p: p.round(6)),
    ],
    ids=["another seed, to the bit", "another size, through fp32", "both, through six digits"],
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
    losses = world(1, slope=-0.004, seeds=2, seed=0.006, day=0.005, both=0.01)
    assert fitted(losses).parameters.verdict == "inconclusive"
    copies = [size[[0, 0]] for size in losses]
    assert fitted(copies).parameters.verdict == "improves"


# --- several numbers of training days


def surfaces(networks, baselines):
    return list(read_tables(networks, baselines).surfaces.values())


@pytest.mark.parametrize("whole", [None, np.nan, "all"], ids=["None", "NaN", "all"])
def test_a_study_on_the_whole_block_is_a_plain_ladder_whatever_says_so(whole):
    networks, baselines = study()
    marked = read_tables(networks.assign(train_days=whole), baselines.assign(train_days=whole))
    assert marked.surfaces == {}
    assert_same_ladder(marked.ladder, read_tables(networks, baselines).ladder)


def assert_same_ladder(one, other):
    assert one.seeds == other.seeds
    for ours, theirs in zip(one.losses, other.losses, strict=True):
        assert (ours == theirs).all()
    for name, (loss,) in one.baselines.items():
        assert (loss == other.baselines[name][0]).all()


@pytest.mark.parametrize(
    ("levels", "most"), [((500, 1000, "all"), "all"), ((500, 2000, 1000), 2000)]
)
def test_the_ladder_of_a_two_axis_study_is_that_of_its_most_days(levels, most):
    networks, baselines = study_of_days(levels=levels)
    alone = [frame[frame["train_days"] == most] for frame in (networks, baselines)]
    assert_same_ladder(read_tables(networks, baselines).ladder, read_tables(*alone).ladder)


def test_cells_stand_by_size_and_then_by_days_whatever_the_order_of_the_rows():
    networks, baselines = study_of_days(levels=(1000, "all", 500))
    shuffled = networks.sample(frac=1, random_state=1)
    (surface,) = surfaces(shuffled, baselines.sample(frac=1, random_state=2))
    parameters, train_days = surface.axes["parameters"], surface.axes["train_days"]
    assert (parameters.points, train_days.points) == (
        ["200k", "600k", "2m"],
        ["500", "1000", "all"],
    )
    assert train_days.positions.tolist() == [500, 1000, 4001]
    assert surface.seeds == [[42, 43]] * 9
    rows = networks[
        (networks["budget"] == "200k")
        & (networks["seed"] == 43)
        & (networks["train_days"] == 500)
        & (networks["weights"] == "mean")
        & (networks["split"] == "test")
    ]
    hit = np.where(rows["y"] == 1, rows["p"], 1 - rows["p"])
    assert surface.losses[0][1] == pytest.approx(-np.log(hit))


def test_both_draws_share_the_whole_block_and_nothing_else():
    recent, blocks = surfaces(*study_of_days(draws=("recent", "blocks")))
    assert (recent.draw, blocks.draw) == ("recent", "blocks")
    assert (recent.losses[2] == blocks.losses[2]).all()
    assert not (recent.losses[0] == blocks.losses[0]).any()


def test_days_are_placed_at_the_mean_of_what_each_run_counted():
    networks, baselines = study_of_days(draws=("blocks",))
    networks.loc[(networks["train_days"] == 500) & (networks["seed"] == 43), "counted_days"] -= 20
    (surface,) = surfaces(networks, baselines)
    assert surface.axes["train_days"].positions[0] == 490


def lacks(days):
    """A fault that leaves out the runs of one size on so many training days."""
    return lambda n, b: (n[(n["budget"] != "2m") | (n["train_days"] != days)], b)


def copied_over_days(networks, baselines):
    run = (networks["budget"] == "2m") & (networks["seed"] == 42)
    source, copy = (run & (networks["train_days"] == days) for days in (500, 1000))
    changed = networks.copy()
    changed.loc[copy, "p"] = networks.loc[source, "p"].to_numpy()
    return changed, baselines


FAULTS_OF_CELLS = {
    "a cell": (lacks(500), "2m has no run on 500 recent training days"),
    "a size": (lacks("all"), "2m has no run on the whole training block"),
    "a copy": (
        copied_over_days,
        "2m seed 42 on 1000 recent .* and 2m seed 42 on 500 recent .* the same",
    ),
    "not counted": (lambda n, b: (n.drop(columns="counted_days"), b), "no column counted_days"),
    "counted alike": (
        changed(counted_days=4001),
        "of what is trained on are both 4,001 when counted",
    ),
    "counted twice": (
        changed(counted_days=lambda n: np.arange(len(n))),
        "counted_days differs between its rows",
    ),
    "no baselines": (
        lambda n, b: (n, b[b["train_days"] != 1000]),
        "baselines: none was fitted on 1000 recent training days",
    ),
    "no base rate": (
        lambda n, b: (n, b[(b["train_days"] != "all") | (b["model"] != "base_rate")]),
        "base_rate is missing on the whole training block",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS_OF_CELLS.values(), ids=FAULTS_OF_CELLS)
def test_a_study_whose_cells_cannot_be_compared_is_refused(fault, message):
    with pytest.raises(UserError, match=message):
        surfaces(*fault(*study_of_days()))
