"""A study of several numbers of training days is read as surfaces, or refused."""

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law.table import read_tables
from tests.law.worlds import study, study_of_days


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


def lacks_a_cell(networks, baselines):
    gone = (networks["budget"] == "2m") & (networks["train_days"] == 500)
    return networks[~gone], baselines


def lacks_a_whole_size(networks, baselines):
    gone = (networks["budget"] == "2m") & (networks["train_days"] == "all")
    return networks[~gone], baselines


def copied_over_days(networks, baselines):
    run = (networks["budget"] == "2m") & (networks["seed"] == 42)
    source, copy = (run & (networks["train_days"] == days) for days in (500, 1000))
    changed = networks.copy()
    changed.loc[copy, "p"] = networks.loc[source, "p"].to_numpy()
    return changed, baselines


def changed(**values):
    """A fault that sets columns of the networks' rows to functions of the rows."""
    return lambda n, b: (n.assign(**values), b)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lacks_a_cell, "2m has no run on 500 recent training days"),
        (lacks_a_whole_size, "2m has no run on the whole training block"),
        (copied_over_days, "2m seed 42 on 1000 recent .* and 2m seed 42 on 500 recent .* the same"),
        (lambda n, b: (n.drop(columns="counted_days"), b), "no column counted_days"),
        (changed(counted_days=4001), "training days are both 4,001 when counted"),
        (
            changed(counted_days=lambda rows: np.arange(len(rows))),
            "counted_days differs between its rows",
        ),
        (changed(train_days=lambda r: r["train_days"].replace(500, 0)), "train_days: found 0"),
        (changed(train_days=lambda r: r["train_days"].replace(500, 2.5)), "train_days: found 2.5"),
        (changed(train_days=lambda r: r["train_days"].replace(500, "two")), "found 'two'"),
        (changed(draw="random"), "draw: found 'random'; allowed: recent or blocks"),
        (
            lambda n, b: (n, b[b["train_days"] != 1000]),
            "baselines: none was fitted on 1000 recent training days",
        ),
        (
            lambda n, b: (n, b[(b["train_days"] != "all") | (b["model"] != "base_rate")]),
            "base_rate is missing on the whole training block",
        ),
        (
            lambda n, b: (pd.concat([n, n[n["train_days"] == 500]]), b),
            "200k seed 42 on 500 .* twice",
        ),
    ],
    ids=[
        "a cell",
        "a size",
        "a copy",
        "not counted",
        "counted alike",
        "counted twice",
        "no days",
        "half a day",
        "words",
        "another draw",
        "no baselines",
        "no base rate",
        "a run twice",
    ],
)
def test_a_study_whose_cells_cannot_be_compared_is_refused(fault, message):
    with pytest.raises(UserError, match=message):
        surfaces(*fault(*study_of_days()))
