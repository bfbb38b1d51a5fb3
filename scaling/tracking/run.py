"""What a tracker is told of a run, and what a tracker must be able to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

Status = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first step.

    `experiment` names the study (`'daily/threshold_1pct'`), `run` one budget and seed of it
    (`'2m.seed43'`), and `directory` is `results/<experiment>`. `params` has no nested values.
    `datasets` holds a name, a path and an MD5 for each file.
    """

    experiment: str
    run: str
    params: dict[str, Any]
    tags: dict[str, str]
    directory: Path
    datasets: list[tuple[str, str, str]]

    @property
    def results_root(self) -> Path:
        """The folder `results`, in which all studies share one MLflow store."""
        return self.directory.absolute().parents[len(Path(self.experiment).parts) - 1]


class Row(NamedTuple):
    """The metrics of one step; `time` is in seconds since 1970."""

    step: int
    time: float
    metrics: dict[str, float]


class Ending(NamedTuple):
    """How and why a run ended, with the numbers that sum it up; `time` as in `Row`."""

    status: Status
    reason: str
    summary: dict[str, Any]
    step: int
    time: float


Item = Row | Path | Ending  # what is tracked, in the order in which it happens


class Backend(Protocol):
    """A tracker that mirrors one run. Any method may block for long, and may raise anything."""

    name: str

    def open(self, run: RunInfo, key: str, started: float) -> str:
        """Find the run that has this `key`, or make it; returns the tracker's own id of it."""

    def log(self, rows: list[Row]) -> int:
        """Send what the tracker does not have yet; returns how many points that was."""

    def artifact(self, path: Path) -> None:
        """Send a file."""

    def close(self, ending: Ending) -> None:
        """Mark how the run ended."""


class Hopeless(Exception):
    """A tracker failed in a way that a second try cannot mend; the message says what can."""


def failure(error: BaseException) -> str:
    """What went wrong in a tracker, in one line of at most 300 characters."""
    kind = "" if isinstance(error, Hopeless) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:300]
