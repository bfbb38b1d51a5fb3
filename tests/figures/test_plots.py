"""The figures show the numbers that they are given, and stand on white and on dark pages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaling.figures import plots, svg
from scaling.law.judge import fit_law
from scaling.law.judged_markets import MarketRow
from scaling.law.result import read_law
from scaling.record import read_json
from tests.figures.planted_study import BETTER, NO_BETTER, write_sweep
from tests.law.test_ageing import walk as aged_walk
from tests.law.test_joined_folds import FOLDS, WALK, walk
from tests.law.worlds import FIVE, table_of


def test_figure_files_are_dark_on_white_and_the_pages_take_its_own_colours(made: Path) -> None:
    figure = (made / "figures" / "ladder.svg").read_text()
    assert "fill: white" in figure
    page = (made / "report.html").read_text()
    assert "fill: white" not in page
    assert "currentColor" in page
    for placeholder in (svg.INK, svg.PAPER):
        assert placeholder not in figure
        assert placeholder not in page


def test_the_sweep_figure_has_a_point_a_recipe_and_marks_the_own_and_the_best_one(
    tmp_path: Path,
) -> None:
    paths = [write_sweep(tmp_path, "200k", BETTER), write_sweep(tmp_path, "2m", NO_BETTER)]
    axes = plots.sweeps([read_json(path) for path in paths]).axes[0]
    points, own, best, *_ = axes.get_lines()
    assert axes.get_xscale() == "log"
    assert list(points.get_xdata()) == pytest.approx([1e-3, 2e-3, 4e-3])
    assert list(points.get_ydata()) == pytest.approx([sum(row) / 3 for row in BETTER])
    for mark, shape, rate, loss in ((own, "s", 1e-3, 0.42), (best, "o", 2e-3, 0.41003)):
        assert mark.get_marker() == shape
        assert [*mark.get_xdata(), *mark.get_ydata()] == pytest.approx([rate, loss], rel=1e-4)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["200k", "2m"]


def test_names_of_baselines_with_nearly_equal_skill_do_not_cover_each_other(made: Path) -> None:
    law = read_law(made / "scaling_law.json")
    figure = plots.ladder(law.ladder.cells, {"forest": 0.100, "boosting": 0.101, "rate": 0.0})
    (axes,) = figure.axes
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) > 0.07


def test_a_size_with_one_seed_is_hollow_named_so_and_not_on_the_line(made: Path) -> None:
    *smaller, largest = read_law(made / "scaling_law.json").ladder.cells
    one = replace(largest, seeds=[42], seed_log_losses=largest.seed_log_losses[:1])
    (axes,) = plots.ladder([*smaller, one], {"rate": 0.0}).axes
    (line, _, _), (point, _, (bar,)) = axes.containers
    assert list(line.get_xdata()) == [size.parameters for size in smaller]
    assert list(point.get_xdata()) == [largest.parameters]
    dashes = [line for line in axes.lines if line.get_marker() == "_" and line.get_ms() == 11]
    for drawn, size in zip(dashes, smaller, strict=True):
        assert drawn.get_ydata().mean() == pytest.approx(100 * size.skill)
    assert (line.get_markerfacecolor(), point.get_markerfacecolor()) == (svg.COLOURS[0], "none")
    assert bar.get_segments()[0][:, 1] == pytest.approx([100 * e for e in one.skill_interval95])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert ["one seed" in label for label in labels] == [False, False, True]


def test_each_market_has_a_panel_of_one_scale_with_its_seeds_and_its_logistic_regression() -> None:
    skills = {"ABC": (0.10, 0.12), "UVW": (0.50, 0.58), "XYZ": (-0.03, 0.01)}
    rows = {
        name: MarketRow(500, 90, {"200k": [low, high], "2m": [high]}, {"logistic_regression": low})
        for name, (low, high) in skills.items()
    }
    figure = plots.markets(rows, [201_000, 2_010_000])
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == list(skills)
    assert np.ptp([np.ptp(axes.get_ylim()) for axes in panels]) == pytest.approx(0)
    for axes, (low, high) in zip(panels, skills.values(), strict=True):
        small, large, means, regression = axes.get_lines()
        assert list(small.get_ydata()) == pytest.approx([100 * low, 100 * high])
        assert list(large.get_ydata()) == pytest.approx([100 * high])
        assert list(means.get_ydata()) == pytest.approx([50 * (low + high), 100 * high])
        assert list(regression.get_ydata()) == pytest.approx([100 * low] * 2)
        bottom, top = axes.get_ylim()
        assert bottom < 100 * low < 100 * high < top


def test_a_forest_has_a_line_for_each_fold_and_one_for_all_of_them() -> None:
    losses = walk(1, slopes=np.linspace(-0.01, 0.01, 14))
    axis = fit_law(table_of(losses, FIVE[:3], folds=FOLDS), WALK).parameters
    (axes,) = plots.folds(axis).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [*map(str, FOLDS), "all folds"]
    points = [bars.lines[0].get_xdata()[0] for bars in axes.containers]
    assert points == [*(fold.slope for fold in axis.folds), axis.slope.estimate]


def test_the_curves_of_age_begin_where_every_network_meets_its_own_block() -> None:
    sizes = [aged_walk(lambda years: 0.002 * years), aged_walk()]
    (axes,) = plots.age(sizes).axes
    curves = [bars.lines[0] for bars in axes.containers]
    for size, curve in zip(sizes, curves, strict=True):
        assert curve.get_ydata()[0] == 0
        assert list(curve.get_ydata()[1:]) == [row.difference.estimate for row in size.ages]
    assert list(curves[0].get_xdata()) == [2, *(row.age for row in sizes[0].ages)]
