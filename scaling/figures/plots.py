"""The report's figures, each from plain numbers to a matplotlib `Figure`, and from there to SVG.

Colours hold on white and on near-black; lines of axes and text take the page's own colour.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.metrics import log_loss_skill, reliability

COLOURS = ("#3b7dd8", "#d9822b", "#2f9e6e", "#a05fc9", "#d1495b", "#6c8a9b")
GREY = "#8a8f98"
MARKERS = "osD^vP"
# Stand for the colours of the text and of the page around; no other element has them.
INK, PAPER = "#010203", "#040506"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
}
WIDE = (7.2, 3.8)


class Svg(NamedTuple):
    """A figure as an `<svg>` element for a page, and as a file on white for slides and papers."""

    element: str
    file: str


def to_svg(figure: Figure, name: str) -> Svg:
    """Equal figures give equal text: no date, and ids that depend on `name` alone."""
    stream = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(
            stream,
            format="svg",
            facecolor=PAPER,
            bbox_inches="tight",
            metadata={"Date": None, "Creator": None},
        )
    text = stream.getvalue()
    element = text[text.index("<svg") :].replace(INK, "currentColor").replace(PAPER, "none")
    return Svg(element, text.replace(INK, "#222222").replace(PAPER, "white"))


def _axes(size: tuple[float, float] = WIDE) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _spread(values: Sequence[float], gap: float) -> list[float]:
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


def ladder(
    sizes: Sequence[Mapping[str, Any]], base_loss: float, baselines: Mapping[str, float]
) -> Figure:
    """Skill in per cent against counted parameters: means, 95 % intervals, seeds, baselines.

    `sizes` as in the law's file, `base_loss` the base rate's test log-loss in nats, `baselines`
    maps names to test skill (a fraction).
    """
    with rc_context(STYLE):
        figure, axes = _axes((7.2, 4.2))
        x = np.array([size["parameters"] for size in sizes], float)
        skill = 100 * np.array([size["skill"] for size in sizes])
        low, high = 100 * np.array([size["skill_interval"] for size in sizes]).T
        axes.set_xscale("log")
        for size in sizes:
            seeds = 100 * (1 - np.array(size["seed_log_losses"]) / base_loss)
            axes.plot(
                np.full(len(seeds), size["parameters"]),
                seeds,
                "_",
                color=COLOURS[0],
                ms=11,
                mew=1.2,
            )
        axes.errorbar(
            *(x, skill),
            yerr=[skill - low, high - skill],
            fmt="o-",
            color=COLOURS[0],
            capsize=4,
            ms=6,
        )
        names = list(baselines)
        values = [100 * baselines[name] for name in names]
        everything = np.concatenate([low, high, values])
        span = float(everything.max() - everything.min()) or 1.0
        bottom, top = everything.min() - 0.06 * span, everything.max() + 0.06 * span
        for name, value, place in zip(
            names, values, _spread(values, 0.075 * (top - bottom)), strict=True
        ):
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
        axes.set_ylim(bottom, top)
        axes.set_xticks(x, [f"{size['budget']}\n{size['parameters']:,}" for size in sizes])
        axes.minorticks_off()
        axes.margins(x=0.08)
        axes.set_xlabel("counted parameters")
        axes.set_ylabel("test log-loss skill over the base rate, %")
    return figure


def compute(runs: pd.DataFrame) -> Figure:
    """Test log-loss against training FLOPs; `runs` has budget, flops, log_loss, one row a run."""
    with rc_context(STYLE):
        figure, axes = _axes()
        axes.set_xscale("log")
        for index, (budget, rows) in enumerate(runs.groupby("budget", sort=False)):
            axes.plot(
                rows["flops"],
                rows["log_loss"],
                MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                label=str(budget),
            )
        axes.set_xlabel("training compute, FLOP")
        axes.set_ylabel("test log-loss, nats")
        axes.legend(title="budget")
    return figure


def learning_curves(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Train and validation log-loss per epoch, a panel per budget; `runs` are run records."""
    budgets = list(dict.fromkeys(run["budget"] for run in runs))
    with rc_context(STYLE):
        columns = min(3, len(budgets))
        lines = -(-len(budgets) // columns)
        figure = Figure(figsize=(7.2, 0.6 + 2.5 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for panel in panels[len(budgets) :]:
            panel.set_axis_off()
        for index, (budget, axes) in enumerate(zip(budgets, panels, strict=False)):
            for run in (run for run in runs if run["budget"] == budget):
                epochs = [epoch["epoch"] for epoch in run["epochs"]]
                for key, style in (("train_loss", ":"), ("val_log_loss", "-")):
                    values = [epoch[key] for epoch in run["epochs"]]
                    axes.plot(epochs, values, style, color=COLOURS[index % len(COLOURS)], lw=1.2)
                best = run["epochs"][run["best_epoch"] - 1]
                axes.plot(
                    best["epoch"], best["val_log_loss"], "o", color=COLOURS[index % len(COLOURS)]
                )
            axes.set_title(f"{budget}", fontsize=10)
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel("log-loss, nats")
        panels[0].plot([], [], "-", color=GREY, label="validation")
        panels[0].plot([], [], ":", color=GREY, label="train")
        panels[0].plot([], [], "o", color=GREY, label="kept epoch")
        panels[0].legend(fontsize=8)
    return figure


def sweeps(swept: Sequence[Mapping[str, Any]]) -> Figure:
    """Validation log-loss against the peak learning rate, a line per budget; `swept` are sweeps.

    The chosen rate is ringed; a star instead says that it lies at the edge of what was tried.
    """
    with rc_context(STYLE):
        figure, axes = _axes()
        axes.set_xscale("log")
        for index, sweep in enumerate(swept):
            colour = COLOURS[index % len(COLOURS)]
            rates = [sweep["learning_rate"] * trial["multiplier"] for trial in sweep["trials"]]
            losses = [trial["val_log_loss"] for trial in sweep["trials"]]
            mark = f"{MARKERS[index % len(MARKERS)]}-"
            axes.plot(rates, losses, mark, color=colour, ms=4, label=sweep["budget"])
            tried = [trial["multiplier"] for trial in sweep["trials"]]
            best = tried.index(sweep["best_multiplier"])
            ring = "o" if sweep["interior"] else "*"
            axes.plot(rates[best], losses[best], ring, color=colour, ms=13, mfc="none", mew=1.5)
        axes.set_xlabel("peak learning rate")
        axes.set_ylabel("best validation log-loss, nats")
        axes.legend(title="budget")
    return figure


def reliability_diagram(models: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> Figure:
    """What was forecast and what happened, in bins of equal count; `models` maps name to (y, p)."""
    with rc_context(STYLE):
        figure, axes = _axes((5.2, 4.2))
        tables = {name: reliability(y, p) for name, (y, p) in models.items()}
        reach = 100 * max(max(t.forecast.max(), t.observed.max()) for t in tables.values())
        axes.plot([0, reach], [0, reach], "--", color=GREY, lw=1)
        for index, (name, table) in enumerate(tables.items()):
            chance = 1.96 * np.sqrt(table.observed * (1 - table.observed) / table.rows)
            axes.errorbar(
                100 * table.forecast,
                100 * table.observed,
                yerr=100 * np.stack([np.minimum(chance, table.observed), chance]),
                fmt=f"{MARKERS[index]}-",
                color=COLOURS[index],
                capsize=2,
                lw=1.2,
                ms=5,
                label=name.replace("_", " "),
            )
        axes.set_xlabel("forecast probability, %")
        axes.set_ylabel("observed frequency, %")
        axes.legend()
    return figure


def skill_by_year(models: Mapping[str, pd.DataFrame], base_rate: float) -> Figure:
    """Log-loss skill of each calendar year; `models` maps a name to rows of date, y, p."""
    with rc_context(STYLE):
        figure, axes = _axes()
        width = 0.8 / len(models)
        years: list[int] = []
        for index, (name, rows) in enumerate(models.items()):
            by_year = {
                int(year): 100 * log_loss_skill(part["y"], part["p"], base_rate)
                for year, part in rows.groupby(rows["date"].dt.year)
            }
            years = sorted(set(years) | set(by_year))
            place = np.array(list(by_year)) + (index - (len(models) - 1) / 2) * width
            axes.bar(
                place,
                list(by_year.values()),
                width * 0.9,
                color=COLOURS[index % len(COLOURS)],
                label=name.replace("_", " "),
            )
        axes.axhline(0, color=INK, lw=0.8)
        axes.grid(axis="x", visible=False)
        axes.set_xticks(years)
        axes.set_ylabel("log-loss skill, %")
        axes.legend(ncols=min(6, len(models)), loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def drift(table: Sequence[Mapping[str, Any]], largest: float) -> Figure:
    """Mean shift of each feature in train standard deviations; `largest` is what is allowed."""
    with rc_context(STYLE):
        figure, axes = _axes((7.2, 0.9 + 0.22 * len(table)))
        y = np.arange(len(table))
        for index, block in enumerate(("validation", "test")):
            shift = [row[f"{block}_shift"] for row in table]
            axes.plot(shift, y, MARKERS[index], color=COLOURS[index], label=block)
        for limit in (-largest, largest):
            axes.axvline(limit, color=COLOURS[4], lw=1, ls="--")
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(y, [row["feature"] for row in table])
        axes.set_xlabel("shift of the mean, train standard deviations (dashed: allowed)")
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure
