"""The figures of a study of two axes, each drawn from the law of a surface.

They are narrow, so that their text stays readable on a phone. Lines differ in marker and dash as
well as in colour, and their names stand at their ends.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scaling.figures.plots import colour, marker, new_axes, spread
from scaling.figures.svg import COLOURS, GREY, INK, STYLE
from scaling.law.cells import BaselineCell, Cell, Ensemble
from scaling.law.result import Law
from scaling.law.runs import BASE_RATE
from scaling.law.sentence import DRAWN

WIDTH = 4.6
DASHES = ("--", "-.", ":", (0, (1, 1)))
LOSS = "test log-loss, nats"
TRAINED_ON = {"days": "training days", "markets": "markets trained on"}


class Curve(NamedTuple):
    """One line: its places, its losses, their intervals, and how it looks."""

    name: str
    x: Sequence[float]
    rows: Sequence[Cell] | Sequence[BaselineCell] | Sequence[Ensemble]
    style: Mapping[str, Any]


def baselines_shown(law: Law) -> list[str]:
    """The baselines with a line of their own: all but the constant, which learns nothing more."""
    return [name for name in law.baselines if name != BASE_RATE]


@rc_context(STYLE)
def loss_against_days(law: Law) -> Figure:
    """Test log-loss against training days or markets: a line for each size and each baseline."""
    figure, axes = new_axes((WIDTH, 3.9))
    curves = [
        Curve(budget, _days(cells), cells, _bold(index))
        for index, (budget, cells) in enumerate(_grouped(law, "budget").items())
    ]
    for index, name in enumerate(baselines_shown(law)):
        fitted = law.baselines[name].cells
        curves.append(Curve(name.replace("_", "\n"), _days(fitted), fitted, _faint(index)))
    _draw(axes, curves)
    _days_axis(axes, law)
    axes.set_ylabel(LOSS)
    return figure


@rc_context(STYLE)
def loss_against_size(law: Law) -> Figure:
    """Test log-loss against counted parameters: a line for each number of days or markets."""
    figure, axes = new_axes((WIDTH, 3.9))
    by_days = _grouped(law, "train_days")
    curves = [
        Curve(
            f"{_named_days(cells[0])} {law.unit}" if index == 0 else _named_days(cells[0]),
            [cell.parameters for cell in cells],
            cells,
            _bold(index) | {"ls": ("-", *DASHES)[index % 5]},
        )
        for index, cells in enumerate(by_days.values())
    ]
    _draw(axes, curves)
    cells = next(iter(by_days.values()))
    axes.set_xticks(
        [cell.parameters for cell in cells],
        [f"{cell.budget}\n{cell.parameters:,}" for cell in cells],
    )
    axes.minorticks_off()
    axes.set_xlabel("counted parameters")
    axes.set_ylabel(LOSS)
    return figure


@rc_context(STYLE)
def skill_map(law: Law) -> Figure:
    """Skill in per cent for each size and number of days or markets; a dot is a network."""
    sizes, days = _grouped(law, "budget"), _grouped(law, "train_days")
    figure, axes = new_axes((WIDTH, 0.9 + 0.62 * len(sizes)))
    skills = [cell.skill for cell in law.cells]
    lowest, reach = min(skills), (max(skills) - min(skills)) or 1.0
    for row, cells in enumerate(sizes.values()):
        for column, cell in enumerate(cells):
            strength = 0.08 + 0.5 * (cell.skill - lowest) / reach
            best = cell.skill == max(skills)
            axes.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.48),
                    *(0.96, 0.96),
                    facecolor=(COLOURS[0], strength),
                    edgecolor=INK if best else "none",
                    lw=1.8 if best else 0,
                )
            )
            figure_of_cell = f"{100 * cell.skill:.1f}".replace("-", "−")
            weight = "bold" if best else "normal"
            axes.text(column, row + 0.08, figure_of_cell, ha="center", va="center", weight=weight)
            dots = column + 0.09 * (np.arange(len(cell.seeds)) - (len(cell.seeds) - 1) / 2)
            axes.plot(dots, np.full(len(dots), row - 0.3), "o", color=INK, ms=2.2)
    axes.set_xlim(-0.55, len(days) - 0.45)
    axes.set_ylim(-0.55, len(sizes) - 0.45)
    axes.set_xticks(range(len(days)), [_named_days(cells[0], "\n") for cells in days.values()])
    axes.set_yticks(range(len(sizes)), list(sizes))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(TRAINED_ON[law.unit])
    axes.set_ylabel("size")
    return figure


@rc_context(STYLE)
def ensembles(law: Law) -> Figure:
    """Single networks and the mean probability of a size's seeds against days, a panel a size."""
    panels = {}
    for index, (budget, cells) in enumerate(_grouped(law, "budget").items()):
        panels[budget] = [Curve("single networks", _days(cells), cells, _bold(index))]
        if rows := [cell.ensemble for cell in cells if cell.ensemble]:
            days = _days([cell for cell in cells if cell.ensemble])
            curve = Curve("ensemble of the seeds", days, rows, _hollow(index))
            panels[budget].append(curve)
    return _panels(panels, law)


@rc_context(STYLE)
def draws(surfaces: Mapping[str, Law]) -> Figure:
    """Both ways to draw the training days, a panel for each size and for logistic regression."""
    looks = {"recent": _bold, "blocks": _hollow}
    panels: dict[str, list[Curve]] = {}
    for draw, law in surfaces.items():
        name, look = DRAWN[draw].removeprefix("the "), looks[draw]
        for index, (budget, cells) in enumerate(_grouped(law, "budget").items()):
            panels.setdefault(budget, []).append(Curve(name, _days(cells), cells, look(index)))
        if regression := law.baselines.get("logistic_regression"):
            curve = Curve(
                name, _days(regression.cells), regression.cells, look(0) | {"color": GREY}
            )
            panels.setdefault("logistic regression", []).append(curve)
    return _panels(panels, next(iter(surfaces.values())))


# --- parts -----------------------------------------------------------------------------------


def _grouped(law: Law, by: str) -> dict[str, list[Cell]]:
    """The cells of each `budget`, or of each number of `train_days`."""
    groups: dict[str, list[Cell]] = {}
    for cell in law.cells:
        groups.setdefault(getattr(cell, by), []).append(cell)
    return groups


def _days(rows: Sequence[Cell] | Sequence[BaselineCell]) -> list[float]:
    return [row.counted_days or 0.0 for row in rows]


def _named_days(row: Cell, apart: str = " ") -> str:
    counted = f"{row.counted_days:,.0f}"
    return f"all{apart}{counted}" if row.train_days == "all" else counted


def _bold(index: int) -> dict[str, Any]:
    return {"color": colour(index), "marker": marker(index), "ls": "-", "ms": 5.5}


def _hollow(index: int) -> dict[str, Any]:
    return _bold(index) | {"ls": "--", "mfc": "none"}


def _faint(index: int) -> dict[str, Any]:
    """A baseline: grey, apart by its dashes."""
    return {
        "color": GREY,
        "marker": ".",
        "ls": DASHES[index % len(DASHES)],
        "ms": 5,
        "lw": 1.2,
        "zorder": 1.8,
    }


def _draw(axes: Axes, curves: Sequence[Curve], *, named: bool = True) -> None:
    """The curves with their intervals, moved apart a little where they share their places."""
    axes.set_xscale("log")
    for index, curve in enumerate(curves):
        loss = np.array([row.log_loss for row in curve.rows])
        low, high = np.array([row.paired_interval95 for row in curve.rows]).T
        apart = 1.012 ** (2 * index - len(curves) + 1)
        axes.errorbar(
            np.array(curve.x) * apart,
            loss,
            yerr=np.clip([loss - low, high - loss], 0, None),
            capsize=2,
            elinewidth=0.9,
            capthick=0.9,
            ecolor=to_rgba(curve.style["color"], 0.6),
            label=curve.name,
            **curve.style,
        )
    axes.margins(x=0.06)
    if named:
        _name_ends(axes, curves)


def _name_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Each name to the right of its line's end, moved apart where ends are close."""
    bottom, top = axes.get_ylim()
    lines = max(curve.name.count("\n") for curve in curves) + 1
    ends = [curve.rows[-1].log_loss for curve in curves]
    places = spread(ends, (0.035 + 0.05 * lines) * (top - bottom))
    for curve, end, place in zip(curves, ends, places, strict=True):
        axes.annotate(
            curve.name,
            (curve.x[-1], end),
            (1.05, (place - bottom) / (top - bottom)),
            textcoords="axes fraction",
            va="center",
            linespacing=0.95,
            annotation_clip=False,
            arrowprops={
                **{"arrowstyle": "-", "lw": 0.8, "shrinkA": 1, "shrinkB": 5},
                "color": curve.style["color"],
            },
        )


def _days_axis(axes: Axes, law: Law) -> None:
    cells = next(iter(_grouped(law, "budget").values()))
    axes.set_xticks(_days(cells), [_named_days(cell, "\n") for cell in cells])
    axes.minorticks_off()
    axes.set_xlabel(TRAINED_ON[law.unit])


def _panels(panels: Mapping[str, Sequence[Curve]], law: Law) -> Figure:
    """Curves of loss against the law's other axis, a panel for each name, on common axes."""
    figure = Figure(figsize=(WIDTH, 0.9 + 1.35 * len(panels)), layout="constrained")
    found = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (title, curves) in zip(found, panels.items(), strict=True):
        _draw(axes, curves, named=False)
        axes.set_title(title, fontsize=10, loc="left", weight="bold")
    _days_axis(found[-1], law)
    fullest = max(found, key=lambda axes: len(axes.containers))
    found[0].legend(
        *fullest.get_legend_handles_labels(),
        **{"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": 2, "fontsize": 9},
        borderaxespad=0,
    )
    figure.supylabel(LOSS, fontsize=10)
    return figure
