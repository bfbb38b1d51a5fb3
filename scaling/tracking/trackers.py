"""What a training is handed to track itself: the local record and its mirrors."""

import time
import uuid
from pathlib import Path
from typing import Any

from scaling.config import TrackingConfig
from scaling.tracking.local import LocalRecord, first_line, read_lines, record_path
from scaling.tracking.mirror import Mirror, wait_for
from scaling.tracking.mlflow import MlflowBackend, mlflow_uri
from scaling.tracking.run import Backend, Ending, Item, Row, RunInfo, Status
from scaling.tracking.wandb import WandbBackend


def make_backends(
    config: TrackingConfig, root: Path, mlflow_store: str | None = None
) -> list[Backend]:
    """The trackers that a config asks for. They import nothing heavy before they are opened.

    `root` is the folder `results`. The URI `mlflow_store` goes before those of the environment and
    of the config.
    """
    backends: list[Backend] = []
    if config.mlflow:
        backends.append(MlflowBackend(mlflow_store or mlflow_uri(config, root), root))
    if config.wandb:
        backends.append(WandbBackend(config.wandb_project))
    return backends


class NoTracker:
    """Tracks nothing: for trial runs, and for all processes of a training but the first."""

    ids: dict[str, Any] = {}

    def log(self, metrics: dict[str, float], step: int) -> None: ...

    def artifact(self, path: str | Path) -> None: ...

    def finish(self, status: str, reason: str, summary: dict[str, Any]) -> None: ...


class Trackers:
    """Writes the local record and feeds the mirrors.

    No method waits for a tracker but `finish`, and that one for 60 s at most. `kept` holds step and
    name of the metrics that the record has from before a resume.
    """

    def __init__(
        self, record: LocalRecord, mirrors: list[Mirror], key: str, kept: set[tuple[int, str]]
    ) -> None:
        self._record, self._mirrors, self._key, self._kept = record, mirrors, key, kept
        self._step = 0

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record the scalars of one step; steps must not fall.

        What the record has already is not written again. The mirrors get it all the same, because
        they may have missed it; each leaves out what its tracker has.
        """
        row = Row(step, time.time(), {name: float(value) for name, value in metrics.items()})
        self._step = step
        new = {k: v for k, v in row.metrics.items() if (step, k) not in self._kept}
        if new:
            self._record.add(row._replace(metrics=new))
        self._send(row)

    def artifact(self, path: str | Path) -> None:
        """Mirror a file that is complete and stays where it is (the config, the checkpoint)."""
        self._record.add(Path(path))
        self._send(Path(path))

    @property
    def ids(self) -> dict[str, str]:
        """What a resume state keeps: `key`, by which every tracker finds the run, and its ids."""
        opened = {mirror.name: mirror.id for mirror in self._mirrors if mirror.id is not None}
        return {"key": self._key, **opened}

    def finish(self, status: Status, reason: str, summary: dict[str, Any] | None = None) -> None:
        """Record how the run ended, and wait for the mirrors."""
        ending = Ending(status, reason, summary or {}, self._step, time.time())
        self._record.add(ending)
        self._record.close()
        self._send(ending)
        wait_for(self._mirrors)

    def _send(self, item: Item) -> None:
        for mirror in self._mirrors:
            mirror.put(item)


def open_trackers(
    config: TrackingConfig,
    run: RunInfo,
    resume_ids: dict[str, str] | None = None,
    resume_step: int | None = None,
) -> Trackers:
    """Start the local record and its mirrors; returns at once.

    With `resume_step` the record keeps its rows up to that step and the resumed run continues them.
    Without it the record starts anew. `resume_ids` are the `ids` of the run that is resumed.
    """
    path = record_path(run)
    old = [] if resume_step is None else read_lines(path)
    kept = [line for line in old if "step" in line and line["step"] <= (resume_step or 0)]
    key = (resume_ids or {}).get("key") or uuid.uuid4().hex
    record = LocalRecord(path, [first_line(run, config, key), *kept])
    backends = make_backends(config, run.results_root)
    mirrors = [Mirror(backend, run, key) for backend in backends]
    return Trackers(record, mirrors, key, {(line["step"], name) for line in kept for name in line})
