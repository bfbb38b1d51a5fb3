"""How every figure looks, and how it becomes SVG.

The colours can be read on white and on near-black. Axes and text take the page's own colour.
"""

import io
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

COLOURS = ("#3b7dd8", "#d9822b", "#2f9e6e", "#a05fc9", "#d1495b", "#6c8a9b")
GREY = "#8a8f98"
RED = COLOURS[4]
# These two stand for the colours of the text and of the page, and no other element has them.
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


class Svg(NamedTuple):
    """One figure in two forms."""

    element: str
    """An `<svg>` element that takes the colours of the page around it."""
    file: str
    """A whole file, dark on white, for slides and papers."""


def to_svg(figure: Figure, name: str) -> Svg:
    """Draw a figure. Equal figures give equal text: no date, and ids that depend on `name` alone.

    Two figures on one page need two names, for equal ids would clip each other.
    """
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
