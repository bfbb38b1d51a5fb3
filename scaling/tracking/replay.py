"""Uploads local records to trackers that lack them."""

from pathlib import Path

from scaling.errors import UserError
from scaling.tracking.local import SUFFIX, RecordedRun
from scaling.tracking.run import Backend, Ending

KILLED = "ended without a word: killed, or the machine went down"


def record_paths(study: Path, run: str | None) -> list[Path]:
    """The local records in `results/<experiment>`, or the one of `run`; none is a `UserError`."""
    found = sorted(study.glob(f"{run or '*'}{SUFFIX}"))
    if not found:
        raise UserError(
            f"{study}: no {run or '*'}{SUFFIX} there; give the folder of one study, "
            "for example --results results/daily/threshold_1pct"
        )
    return found


def replay(recorded: RecordedRun, backend: Backend) -> int:
    """Send a recorded run to a tracker; returns how many points were new to it.

    A run that is neither alive nor ended was killed, and is marked as failed.
    """
    backend.open(recorded.info, recorded.key, recorded.started)
    added = backend.log(recorded.rows)
    for path in recorded.artifacts:
        if path.is_file():  # it may have been moved or deleted since
            backend.artifact(path)
    if not recorded.alive:
        backend.close(recorded.ending or _killed(recorded))
    return added


def _killed(recorded: RecordedRun) -> Ending:
    step, time = 0, recorded.started
    if recorded.rows:
        step, time, _ = recorded.rows[-1]
    return Ending("failed", KILLED, {}, step, time)
