"""The report's figures, each a function of plain numbers that gives a matplotlib `Figure`."""

import textwrap
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures.svg import COLOURS, GREY, INK, RED, STYLE
from scaling.law.ageing import Ageing
from scaling.law.axis import AxisLaw
from scaling.law.cells import Cell
from scaling.law.direction import Estimate
from scaling.law.judged_markets import MarketRow
from scaling.metrics import Array, log_loss, reliability

Files = Sequence[Mapping[str, Any]]

MARKERS = "osD^vP"
WIDE = (7.2, 3.8)
Row = tuple[str, float, tuple[float, float]]  # its name, its value, its 95 % interval
# What a sweep varies, and what a reader calls it.
SETTINGS = {
    "learning_rate": "peak learning rate",
    "weight_decay": "weight decay",
    "epochs": "epochs",
    "initial_deviation": "initial deviation",
    "dropout": "dropout",
}


def new_axes(size: tuple[float, float] = WIDE) -> tuple[Figure, Axes]:
    """A figure of one panel, its size in inches."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _panels(count: int, most: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """So many panels in rows of at most `most`, each `height` inches high."""
    columns = min(most, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(7.2, 0.6 + height * lines), layout="constrained")
    panels = [*figure.subplots(lines, columns, squeeze=False, **shared).ravel()]
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def colour(index: int) -> str:
    """The colour of the line with this number."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """The marker of the line with this number."""
    return MARKERS[index % len(MARKERS)]


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1))


# --- direction beside volatility --------------------------------------------------------------


@rc_context(STYLE)
def direction(differences: Mapping[str, Estimate]) -> Figure:
    """AUC among the large moves, minus that of volatility alone; `differences` are by model."""
    figure, axes = _forest(
        [(name.replace("_", " "), own.value, own.interval95) for name, own in differences.items()]
    )
    axes.set_xlabel("AUC of the direction, minus that of volatility alone")
    return figure


# --- slopes of the folds of a walk forward ----------------------------------------------------


@rc_context(STYLE)
def folds(sizes: AxisLaw) -> Figure:
    """The slope in nats per decade of each fold and of all, with 95 % intervals: a forest plot."""
    rows = [(str(fold.origin), fold.slope, fold.interval95) for fold in sizes.folds]
    rows.append(("all folds", sizes.slope.estimate, sizes.slope.interval95))
    figure, axes = _forest(rows, apart=len(rows) - 1)
    axes.set_ylabel("test years from")
    return figure


@rc_context(STYLE)
def slopes(studies: Mapping[str, AxisLaw], deltas: Sequence[float]) -> Figure:
    """The slope over sizes of each study with its 95 % interval, in nats per decade.

    Behind each is a band of +-delta, inside which size would make no difference that matters.
    """
    rows = [(name, law.slope.estimate, law.slope.interval95) for name, law in studies.items()]
    figure, axes = _forest(rows)
    axes.barh(range(len(rows)), 2 * np.array(deltas), left=-np.array(deltas), color=GREY, alpha=0.3)
    return figure


def _forest(rows: Sequence[Row], apart: int | None = None) -> tuple[Figure, Axes]:
    """A row for each value with its interval; the one at the place `apart` looks otherwise."""
    figure, axes = new_axes((7.2, 1.1 + 0.28 * len(rows)))
    for y, (_, value, ends) in enumerate(rows):
        error = np.abs(np.array(ends) - value)[:, None]
        shape, shade = ("D", COLOURS[1]) if y == apart else ("o", COLOURS[0])
        axes.errorbar(value, y, xerr=error, fmt=shape, color=shade, capsize=3)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("slope of log-loss, nats for ten times the parameters (left: bigger is better)")
    return figure, axes


@rc_context(STYLE)
def age(sizes: Sequence[Ageing]) -> Figure:
    """Loss beside that of the youngest networks by age in years, 95 % intervals, a line a size."""
    figure, axes = new_axes()
    for index, size in enumerate(sizes):
        values = np.array([0.0, *(row.difference.estimate for row in size.ages)])
        ends = np.array([(0.0, 0.0), *(row.difference.interval95 for row in size.ages)]).T
        axes.errorbar(
            np.array([size.youngest, *(row.age for row in size.ages)]) + 0.15 * index,
            values,
            yerr=np.abs(ends - values),
            fmt=f"{marker(index)}-",
            color=colour(index),
            capsize=3,
            label=size.budget,
        )
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel("years from the last training day to the test block")
    axes.set_ylabel("log-loss minus that of the youngest, nats")
    _legend_above(axes, len(sizes))
    return figure


# --- skill against size ----------------------------------------------------------------------


@rc_context(STYLE)
def ladder(sizes: Sequence[Cell], baselines: Mapping[str, float]) -> Figure:
    """Skill in per cent against counted parameters: means, 95 % intervals, seeds, baselines.

    A size with one seed has a hollow marker, and the line leaves it out, as the law does. `sizes`
    are the ladder's cells, `baselines` maps names to test skill (a fraction).
    """
    figure, axes = new_axes((7.2, 4.2))
    lines = {name: 100 * value for name, value in baselines.items()}
    ends = [100 * end for size in sizes for end in size.skill_interval95]
    everything = np.array([*ends, *lines.values()])
    margin = 0.06 * (float(np.ptp(everything)) or 1.0)
    axes.set_xscale("log")
    axes.set_ylim(everything.min() - margin, everything.max() + margin)
    for size in sizes:
        seeds = 100 * (1 - np.array(size.seed_log_losses) * (1 - size.skill) / size.log_loss)
        if len(seeds) > 1:
            x = np.full(len(seeds), size.parameters)
            axes.plot(x, seeds, "_", color=COLOURS[0], ms=11, mew=1.2)
    _points(axes, sizes, "o", COLOURS[0])
    _named_lines(axes, lines)
    axes.set_xticks([size.parameters for size in sizes], [_label(size) for size in sizes])
    axes.minorticks_off()
    axes.margins(x=0.08)
    axes.set_xlabel("counted parameters")
    axes.set_ylabel("test log-loss skill over the base rate, %")
    return figure


@rc_context(STYLE)
def ladders(studies: Mapping[str, Sequence[Cell]], differences: Sequence[str] = ()) -> Figure:
    """Skill in per cent against counted parameters: means and 95 % intervals, a line per study.

    `studies` maps a name to the cells of its ladder. In what they differ stands below.
    """
    head = ["Besides the networks' shapes, the studies differ in"] if differences else []
    note = [part for line in (*head, *differences) for part in textwrap.wrap(line, 105)]
    figure, axes = new_axes((7.2, 4.2 + 0.2 * len(note)))
    figure.supxlabel("\n".join(note), x=0.01, ha="left", fontsize="small")
    axes.set_xscale("log")
    for index, (name, sizes) in enumerate(studies.items()):
        _points(axes, sizes, marker(index), colour(index), label=name)
    axes.set_xlabel("counted parameters")
    axes.set_ylabel("test log-loss skill over the base rate, %")
    _legend_above(axes, 2)
    return figure


def _points(axes: Axes, sizes: Sequence[Cell], shape: str, shade: str, label: str = "") -> None:
    """Means and 95 % intervals, with a line through the sizes that have several seeds."""
    several = [size for size in sizes if len(size.seeds) > 1]
    single = [size for size in sizes if len(size.seeds) == 1]
    groups = [group for group in ((several, "-", shade), (single, "none", "none")) if group[0]]
    for number, (own, line, face) in enumerate(groups):
        skill = 100 * np.array([size.skill for size in own])
        ends = 100 * np.array([size.skill_interval95 for size in own]).T
        axes.errorbar(
            [size.parameters for size in own],
            skill,
            yerr=np.abs(ends - skill),
            color=shade,
            marker=shape,
            ls=line,
            mfc=face,
            capsize=4,
            ms=6,
            label=None if number else label,
        )


def _label(size: Cell) -> str:
    """What stands below a size: its budget, its counted parameters, and a lack of replicates."""
    lines = [size.budget, f"{size.parameters:,}"]
    return "\n".join([*lines, "one seed"] if len(size.seeds) == 1 else lines)


def _named_lines(axes: Axes, values: Mapping[str, float]) -> None:
    """Dashed lines across, their names on the right, moved apart where lines are close."""
    bottom, top = axes.get_ylim()
    places = spread(list(values.values()), 0.075 * (top - bottom))
    for (name, value), place in zip(values.items(), places, strict=True):
        axes.axhline(value, color=GREY, lw=1, ls="--", zorder=1)
        axes.annotate(
            name.replace("_", " "),
            (1, value),
            (1.02, (place - bottom) / (top - bottom)),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.7},
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """The values moved apart to at least `gap`, so that labels beside them can be read."""
    order = np.argsort(values)
    moved = np.array(values, float)
    for _ in range(200):
        steps = np.diff(moved[order])
        if not len(steps) or (steps >= gap * 0.999).all():
            break
        for i in np.flatnonzero(steps < gap):
            push = (gap - steps[i]) / 2
            moved[order[i]] -= push
            moved[order[i + 1]] += push
    return [float(v) for v in moved]


@rc_context(STYLE)
def markets(rows: Mapping[str, MarketRow], parameters: Sequence[int]) -> Figure:
    """Skill in per cent against counted parameters, a panel per market, all of one scale.

    `parameters` are those of the sizes of each of the `rows`, in their order.
    """
    figure, panels = _panels(len(rows), 5, 1.6, sharex=True)
    drawn = [
        _market(panel, row, parameters) for panel, row in zip(panels, rows.values(), strict=True)
    ]
    reach = 0.55 * max(float(np.ptp(values)) for values in drawn)
    for axes, name, values in zip(panels, rows, drawn, strict=True):
        middle = (values.min() + values.max()) / 2
        axes.set_ylim(middle - reach, middle + reach)
        axes.set_title(name, fontsize=9)
    figure.supxlabel("size, by counted parameters", fontsize=10)
    figure.supylabel("test log-loss skill, %", fontsize=10)
    return figure


def _market(axes: Axes, row: MarketRow, parameters: Sequence[int]) -> Array:
    """Draw one market; the values that its panel must hold."""
    means = [100 * fmean(seeds) for seeds in row.skill.values()]
    seeds = [100 * np.array(skills) for skills in row.skill.values()]
    line = 100 * row.baselines["logistic_regression"]
    axes.set_xscale("log")
    for x, own in zip(parameters, seeds, strict=True):
        axes.plot(np.full(len(own), x), own, "_", color=COLOURS[0], ms=7, mew=1)
    axes.plot(parameters, means, "o-", color=COLOURS[0], ms=3, lw=1.2)
    axes.axhline(line, color=GREY, lw=1, ls="--", zorder=1)
    axes.set_xticks(parameters, list(row.skill))
    axes.minorticks_off()
    axes.tick_params(labelsize=7)
    axes.margins(x=0.15)
    return np.array([*np.concatenate(seeds), line])


# --- training --------------------------------------------------------------------------------


@rc_context(STYLE)
def compute(records: Files, evaluations: Files) -> Figure:
    """Test log-loss against training FLOPs, a point a run."""
    figure, axes = new_axes()
    axes.set_xscale("log")
    points: dict[str, list[tuple[float, float]]] = {}
    for record, evaluation in zip(records, evaluations, strict=True):
        loss = evaluation["metrics"]["mean"]["test"]["log_loss"]
        points.setdefault(record["budget"], []).append((record["flops"], loss))
    for index, (budget, runs) in enumerate(points.items()):
        flops, losses = zip(*runs, strict=True)
        axes.plot(flops, losses, marker(index), color=colour(index), label=budget)
    axes.set_xlabel("training compute, FLOP")
    axes.set_ylabel("test log-loss, nats")
    axes.legend(title="budget")
    return figure


@rc_context(STYLE)
def learning_curves(runs: Files) -> Figure:
    """Train and validation log-loss per epoch, a panel per budget; `runs` are run records."""
    budgets = list(dict.fromkeys(run["budget"] for run in runs))
    figure, panels = _panels(len(budgets), 3, 2.5, sharey=True)
    for index, (budget, axes) in enumerate(zip(budgets, panels, strict=True)):
        for run in (run for run in runs if run["budget"] == budget):
            _learning_curve(axes, run, colour(index))
        axes.set_title(f"{budget}", fontsize=10)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_formatter(lambda epochs, _: f"{epochs:g}")
    panels[0].set_ylabel("log-loss, nats")
    for mark, label in (("-", "validation"), (":", "train"), ("o", "mean of the last quarter")):
        panels[0].plot([], [], mark, color=GREY, label=label)
    panels[0].legend(fontsize=8)
    return figure


def _learning_curve(axes: Axes, run: Mapping[str, Any], shade: str) -> None:
    epochs = [look["epoch"] for look in run["looks"]]
    for key, style in (("train_loss", ":"), ("val_log_loss", "-")):
        axes.plot(epochs, [look[key] for look in run["looks"]], style, color=shade, lw=1.2)
    axes.plot(epochs[-1], run["validation"]["log_loss"], "o", color=shade)


@rc_context(STYLE)
def sweeps(swept: Files) -> Figure:
    """Validation log-loss against each setting that a sweep varies, a colour per budget.

    A point is a recipe: the mean over its seeds, and their standard error. The square is the
    experiment's own recipe, the ring the best one.
    """
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    panels = figure.subplots(2, 3, sharey=True).ravel()
    panels[-1].set_axis_off()
    for axes, (setting, label) in zip(panels, SETTINGS.items(), strict=False):
        axes.set_xscale("linear" if setting == "dropout" else "log")
        axes.set_xlabel(label)
        for index, sweep in enumerate(swept):
            _recipes_tried(axes, sweep, setting, colour(index))
    panels[2].xaxis.set_major_formatter(lambda epochs, _: f"{epochs:g}")
    for left in panels[::3]:
        left.set_ylabel("validation log-loss, nats")
    panels[0].legend(title="budget", fontsize=8)
    return figure


def _recipes_tried(axes: Axes, sweep: Mapping[str, Any], setting: str, shade: str) -> None:
    values = [recipe[setting] for recipe in sweep["recipes"]]
    losses = np.array([recipe["val_log_losses"] for recipe in sweep["recipes"]])
    means, errors = losses.mean(1), losses.std(1, ddof=1) / np.sqrt(losses.shape[1])
    axes.errorbar(values, means, errors, fmt="o", ms=3, color=shade, label=sweep["budget"])
    best = sweep["best"]
    for place, mark in ((0, "s"), (best, "o")):
        axes.plot(values[place], means[place], mark, color=shade, ms=11, mfc="none", mew=1.5)


# --- forecasts and data ----------------------------------------------------------------------


@rc_context(STYLE)
def reliability_diagram(models: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> Figure:
    """What was forecast and what happened, in bins of equal count; `models` maps name to (y, p)."""
    figure, axes = new_axes((5.2, 4.2))
    tables = {name: reliability(y, p) for name, (y, p) in models.items()}
    reach = 100 * max(max(t.forecast.max(), t.observed.max()) for t in tables.values())
    axes.plot([0, reach], [0, reach], "--", color=GREY, lw=1)
    for index, (name, table) in enumerate(tables.items()):
        chance = 1.96 * np.sqrt(table.observed * (1 - table.observed) / table.rows)
        axes.errorbar(
            100 * table.forecast,
            100 * table.observed,
            yerr=100 * np.stack([np.minimum(chance, table.observed), chance]),
            fmt=f"{marker(index)}-",
            color=colour(index),
            capsize=2,
            lw=1.2,
            ms=5,
            label=name.replace("_", " "),
        )
    axes.set_xlabel("forecast probability, %")
    axes.set_ylabel("observed frequency, %")
    axes.legend()
    return figure


@rc_context(STYLE)
def skill_by_year(models: Mapping[str, pd.DataFrame], base: pd.DataFrame) -> Figure:
    """Log-loss skill of each calendar year over the `base` rate's; all are rows of date, y, p."""
    figure, axes = new_axes()
    width = 0.8 / len(models)
    years: set[int] = set()
    reference = {
        year: log_loss(own["y"], own["p"]) for year, own in base.groupby(base["date"].dt.year)
    }
    for index, (name, rows) in enumerate(models.items()):
        by_year = {
            int(year): 100 * (1 - log_loss(part["y"], part["p"]) / reference[year])
            for year, part in rows.groupby(rows["date"].dt.year)
        }
        years |= by_year.keys()
        place = np.array(list(by_year)) + (index - (len(models) - 1) / 2) * width
        skills, label = list(by_year.values()), name.replace("_", " ")
        axes.bar(place, skills, width * 0.9, color=colour(index), label=label)
    axes.axhline(0, color=INK, lw=0.8)
    axes.grid(axis="x", visible=False)
    axes.set_xticks(sorted(years))
    axes.set_ylabel("log-loss skill, %")
    _legend_above(axes, min(6, len(models)))
    return figure


@rc_context(STYLE)
def drift(table: Sequence[Mapping[str, Any]], largest: float) -> Figure:
    """Mean shift of each feature in train standard deviations; `largest` is what is allowed."""
    figure, axes = new_axes((7.2, 0.9 + 0.22 * len(table)))
    y = np.arange(len(table))
    for index, block in enumerate(("validation", "test")):
        shift = [row[f"{block}_shift"] for row in table]
        axes.plot(shift, y, marker(index), color=colour(index), label=block)
    for limit in (-largest, largest):
        axes.axvline(limit, color=RED, lw=1, ls="--")
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(y, [row["feature"] for row in table])
    axes.set_xlabel("shift of the mean, train standard deviations (dashed: allowed)")
    axes.set_ylim(len(table) - 0.4, -0.6)
    _legend_above(axes, 2)
    return figure
