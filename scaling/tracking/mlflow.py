"""MLflow: one experiment a study, in it one parent run, and below that a run per budget and seed.

A run is found again by the key that it carries as a tag. So a resumed run goes on in its own
curves, and an upload that is repeated adds nothing twice. MLflow is imported only when a store is
opened.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scaling.config import TrackingConfig
from scaling.tracking.run import Ending, Row, RunInfo, Status

METRICS_PER_CALL = 1000  # MLflow's REST API takes no more in one `runs/log-batch` request
LOCK_SECONDS = 120
STATUS: dict[Status, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
# No telemetry, and short waits: with MLflow's own defaults one call to a dead server blocked for
# 246 s. The jitter of its retries would draw from the global `random`, which training may use.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def local_uri(root: Path) -> str:
    """The store that is used if nothing else is asked for: a sqlite file beside the studies."""
    return f"sqlite:///{root.absolute()}/mlflow.db"


def mlflow_uri(config: TrackingConfig, root: Path) -> str:
    """The store to use: the environment's, else the config's, else the local one."""
    return os.environ.get("MLFLOW_TRACKING_URI") or config.mlflow_uri or local_uri(root)


def how_to_look(uri: str) -> str:
    """What to do to see a store in a browser."""
    return f"open {uri}" if uri.startswith("http") else f"type: mlflow ui --backend-store-uri {uri}"


@contextmanager
def open_store(uri: str, root: Path) -> Iterator[Any]:
    """A client of the store at `uri`, which is made if need be. Other jobs wait until this ends.

    Without the wait, jobs that start together would each make the tables, the experiment and its
    parent run. `root` holds the lock.
    """
    from filelock import FileLock
    from mlflow.tracking import MlflowClient  # takes seconds, so it comes before the lock

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".mlflow.lock", timeout=LOCK_SECONDS):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first request makes the tables
        yield client


class MlflowBackend:
    """Mirrors one run into the store at `uri`."""

    name = "mlflow"

    def __init__(self, uri: str, root: Path) -> None:
        self.uri, self._root = uri, root
        os.environ.update({**ENVIRONMENT, **os.environ})  # what the user has set stays

    def make_store(self) -> None:
        """Make the store and its tables if they do not exist."""
        with open_store(self.uri, self._root):
            pass

    def open(self, run: RunInfo, key: str, started: float) -> str:
        with open_store(self.uri, self._root) as client:
            self._client = client
            experiment = self._experiment(run.experiment)
            parent = self._parent(experiment, run.experiment, started)
            tags = {**run.tags, "mlflow.parentRunId": parent}
            self._id = self._find(experiment, "scaling_key", key) or self._make(
                experiment, run.run, {**tags, "scaling_key": key}, started
            )
        self._known_steps: dict[str, set[int]] = {}
        self._describe(run)
        return self._id

    def log(self, rows: list[Row]) -> int:
        from mlflow.entities import Metric

        # A dict, because one step may have been logged twice.
        new = {
            (name, row.step): Metric(name, value, int(row.time * 1000), row.step)
            for row in rows
            for name, value in row.metrics.items()
            if row.step not in self._steps_of(name)
        }
        points = list(new.values())
        for first in range(0, len(points), METRICS_PER_CALL):
            self._client.log_batch(self._id, metrics=points[first : first + METRICS_PER_CALL])
        for name, step in new:
            self._known_steps[name].add(step)
        return len(new)

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def close(self, ending: Ending) -> None:
        numbers = {k: v for k, v in ending.summary.items() if isinstance(v, int | float)}
        self.log([Row(ending.step, ending.time, {f"summary/{k}": v for k, v in numbers.items()})])
        for name in ending.summary.keys() - numbers.keys():
            self._client.set_tag(self._id, f"summary.{name}", ending.summary[name])
        self._client.set_tag(self._id, "stop_reason", ending.reason)
        self._client.set_terminated(
            self._id, STATUS[ending.status], end_time=int(ending.time * 1000)
        )

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            is_local = self.uri == local_uri(self._root)
            where = (self._root / "mlartifacts" / name).as_uri() if is_local else None
            return str(self._client.create_experiment(name, artifact_location=where))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _parent(self, experiment: str, study: str, started: float) -> str:
        """The run below which MLflow's page groups all runs of a study."""
        found = self._find(experiment, "scaling_study", study)
        if found is None:
            found = self._make(experiment, "study", {"scaling_study": study}, started)
            self._client.set_terminated(found)  # it only groups, so it is never shown as running
        return found

    def _find(self, experiment: str, tag: str, value: str) -> str | None:
        found = self._client.search_runs([experiment], f"tags.{tag} = '{value}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _make(self, experiment: str, name: str, tags: dict[str, str], started: float) -> str:
        made = self._client.create_run(
            experiment, start_time=int(started * 1000), tags=tags, run_name=name
        )
        return str(made.info.run_id)

    def _describe(self, run: RunInfo) -> None:
        """Send params, tags and datasets, without those that a resumed run has already."""
        from mlflow.entities import Param, RunTag

        known = self._client.get_run(self._id)
        params = [Param(k, str(v)) for k, v in run.params.items() if k not in known.data.params]
        tags = [RunTag(k, v) for k, v in run.tags.items()]
        self._client.log_batch(self._id, params=params, tags=tags)
        self._add_datasets(run, {d.dataset.digest for d in known.inputs.dataset_inputs})
        if known.info.status != "RUNNING":
            self._client.update_run(self._id, status="RUNNING")

    def _add_datasets(self, run: RunInfo, known_digests: set[str]) -> None:
        from mlflow.entities import Dataset, DatasetInput

        # These are the objects that MLflow's `MetaDataset` builds. Its `from_pandas` is not used,
        # because it would hash some rows, and the digest must be the MD5 of the file.
        new = [
            DatasetInput(Dataset(name, md5, "local", json.dumps({"uri": path})))
            for name, path, md5 in run.datasets
            if md5 not in known_digests
        ]
        if new:
            self._client.log_inputs(self._id, datasets=new)

    def _steps_of(self, metric: str) -> set[int]:
        """The steps that MLflow has of a metric. They are not sent again after a resume."""
        if metric not in self._known_steps:
            history = self._client.get_metric_history(self._id, metric)
            self._known_steps[metric] = {point.step for point in history}
        return self._known_steps[metric]
