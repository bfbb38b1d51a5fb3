"""MLflow and W&B behind one small interface: open, log, artifact, close.

Both are found again by a key that the run carries, so that a resumed or replayed run adds what is
missing and nothing twice. Nothing here is imported from either before `open` is called.
"""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from scaling.config import TrackingConfig

MLFLOW_BATCH = 1000  # the most metrics one log_batch takes
# No telemetry. With MLflow's own defaults one call to a dead server blocked for 246 s; the jitter
# of its retries would draw from the global `random`, which training may be using.
ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}

Status = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run: `params` are flat, `datasets` are (name, path, MD5).

    `experiment` is the study (`'daily/threshold_1pct'`), `run` one budget and seed of it
    (`'2m.seed43'`), `directory` is `results/<experiment>`.
    """

    experiment: str
    run: str
    params: dict[str, Any]
    tags: dict[str, str]
    directory: Path
    datasets: list[tuple[str, str, str]]


class Row(NamedTuple):
    """Metrics of one step; `time` in seconds since 1970."""

    step: int
    time: float
    metrics: dict[str, float]


class Ending(NamedTuple):
    """How a run ended, in words, and the numbers it ended with."""

    status: Status
    reason: str
    summary: dict[str, Any]
    step: int
    time: float


class Hopeless(Exception):
    """A tracker failed in a way that trying again does not mend."""


class Backend(Protocol):
    """One remote tracker; `log` returns how many points were new to it."""

    name: str

    def open(self, run: RunInfo, key: str, started: float) -> str: ...
    def log(self, rows: list[Row]) -> int: ...
    def artifact(self, path: Path) -> None: ...
    def close(self, ending: Ending) -> None: ...


def results_root(run: RunInfo) -> Path:
    """`results` of `results/<experiment>`: where all studies share one store."""
    return run.directory.absolute().parents[len(Path(run.experiment).parts) - 1]


class MlflowBackend:
    """One experiment per study, in it one parent run, and under that a run per budget and seed."""

    name = "mlflow"

    def __init__(self, uri: str, root: Path) -> None:
        self.uri, self._root = uri, root

    def open(self, run: RunInfo, key: str, started: float) -> str:
        with self._lock():
            self._client = self._connect()
            experiment = self._experiment(run.experiment)
            parent = self._run(experiment, "study", run.experiment, "study", {}, started)
            tags = {**run.tags, "mlflow.parentRunId": parent}
            self._id = self._run(experiment, "key", key, run.run, tags, started)
        self._seen: dict[str, set[int]] = {}
        self._describe(run)
        return self._id

    def make_store(self) -> None:
        """Make a local store that does not exist yet."""
        with self._lock():
            self._connect()

    def _lock(self) -> Any:
        """Jobs that start together would each make the tables, the experiment and the parent."""
        import mlflow.tracking  # noqa: F401  (seconds, which the others need not wait for)
        from filelock import FileLock

        self._root.mkdir(parents=True, exist_ok=True)
        return FileLock(self._root / ".mlflow.lock", timeout=120)

    def _connect(self) -> Any:
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        client = MlflowClient(tracking_uri=self.uri)
        client.search_experiments(max_results=1)
        return client

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            local = self.uri == local_uri(self._root)
            where = (self._root / "mlartifacts" / name).as_uri() if local else None
            return str(self._client.create_experiment(name, artifact_location=where))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _run(
        self, experiment: str, kind: str, value: str, name: str, tags: dict[str, str], start: float
    ) -> str:
        """The run whose tag `scaling_<kind>` is `value`, made if there is none."""
        tag = f"scaling_{kind}"
        found = self._client.search_runs([experiment], f"tags.{tag} = '{value}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        made = self._client.create_run(
            experiment, start_time=int(start * 1000), tags={**tags, tag: value}, run_name=name
        )
        if kind == "study":  # a folder is never running
            self._client.set_terminated(made.info.run_id)
        return str(made.info.run_id)

    def _describe(self, run: RunInfo) -> None:
        """Params, tags and inputs that a new run lacks, and a resumed one already has."""
        from mlflow.entities import Dataset, DatasetInput, Param, RunTag

        known = self._client.get_run(self._id)
        params = [Param(k, str(v)) for k, v in run.params.items() if k not in known.data.params]
        for start in range(0, max(len(params), 1), 100):  # the most that one call takes
            tags = [RunTag(k, v) for k, v in run.tags.items()]
            self._client.log_batch(self._id, params=params[start : start + 100], tags=tags)
        have = {d.dataset.digest for d in known.inputs.dataset_inputs}
        # What `MetaDataset` would build; `from_pandas` would hash rows, not the file.
        inputs = [
            DatasetInput(Dataset(name, md5, "local", json.dumps({"uri": path})))
            for name, path, md5 in run.datasets
            if md5 not in have
        ]
        if inputs:
            self._client.log_inputs(self._id, datasets=inputs)
        if known.info.status != "RUNNING":
            self._client.update_run(self._id, status="RUNNING")

    def _is_new(self, name: str, step: int) -> bool:
        """A step that is already there is not sent again: after a resume its time would differ."""
        if name not in self._seen:
            history = self._client.get_metric_history(self._id, name)
            self._seen[name] = {point.step for point in history}
        return step not in self._seen[name]

    def log(self, rows: list[Row]) -> int:
        from mlflow.entities import Metric

        fresh = {  # keyed, for one step may have been logged twice
            (name, row.step): Metric(name, value, int(row.time * 1000), row.step)
            for row in rows
            for name, value in row.metrics.items()
            if self._is_new(name, row.step)
        }
        points = list(fresh.values())
        for start in range(0, len(points), MLFLOW_BATCH):
            self._client.log_batch(self._id, metrics=points[start : start + MLFLOW_BATCH])
        for name, step in fresh:
            self._seen[name].add(step)
        return len(points)

    def artifact(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def close(self, ending: Ending) -> None:
        numbers = {k: v for k, v in ending.summary.items() if isinstance(v, int | float)}
        self.log([Row(ending.step, ending.time, {f"summary/{k}": v for k, v in numbers.items()})])
        for name in ending.summary.keys() - numbers.keys():
            self._client.set_tag(self._id, f"summary.{name}", ending.summary[name])
        self._client.set_tag(self._id, "stop_reason", ending.reason)
        status = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}[ending.status]
        self._client.set_terminated(self._id, status, end_time=int(ending.time * 1000))


class WandbBackend:
    """One group per study; the run's key is its id, so that a resumed run goes on in its curve."""

    name = "wandb"

    def __init__(self, project: str) -> None:
        self._project = project

    def open(self, run: RunInfo, key: str, started: float) -> str:
        import wandb

        settings = wandb.Settings(
            init_timeout=15,  # its defaults blocked for 101 s, and its finish for 9 minutes
            finish_timeout=30,
            finish_timeout_raises=True,
            console="off",
            disable_code=True,
        )
        # A user who typed `wandb offline` has that in the settings, not in the environment.
        mode: Any = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        # Verified by init, which has a timeout; a prompt for a key would never be answered here.
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise Hopeless("no API key: type `wandb login`, or set WANDB_MODE=offline")
        self._wandb, self._info = wandb, run
        try:
            self._run = wandb.init(
                project=self._project,
                id=key,
                mode=mode,
                resume="allow" if mode == "online" else None,
                group=run.experiment,
                name=f"{run.experiment} {run.run}",
                job_type="train",
                tags=[f"{name}:{value}"[:64] for name, value in run.tags.items()],
                config={**run.params, **run.tags},
                dir=os.environ.get("WANDB_DIR", run.directory),
                settings=settings,
            )
        except wandb.errors.Error as error:
            # It has tried again by itself, and keeps the id: a second try finds it "in use".
            raise Hopeless(f"{type(error).__name__}: {error}") from None
        self._start = self._run.step  # what the server has already, if the run was resumed
        for name, path, md5 in run.datasets:
            dataset = wandb.Artifact(self._label(name), type="dataset", metadata={"md5": md5})
            # A reference's digest is the MD5 of the file it points at: the manifest's.
            dataset.add_reference(Path(path).absolute().as_uri(), name=Path(path).name)
            self._run.log_artifact(dataset)
        return key

    def _label(self, name: str) -> str:
        return f"{self._info.experiment}-{name}".replace("/", "-")

    def log(self, rows: list[Row]) -> int:
        fresh = [row for row in rows if row.step >= self._start]
        for row in fresh:
            self._run.log(dict(row.metrics), step=row.step)
        return sum(len(row.metrics) for row in fresh)

    def artifact(self, path: Path) -> None:
        kind = {".yaml": "config", ".ckpt": "model"}.get(path.suffix, "file")
        made = self._wandb.Artifact(
            self._label(f"{self._info.run}-{path.name}"),
            type=kind,
            metadata={"md5": {name: md5 for name, _, md5 in self._info.datasets}},
        )
        made.add_file(str(path))
        self._run.log_artifact(made)

    def close(self, ending: Ending) -> None:
        self._run.summary.update(
            {**ending.summary, "status": ending.status, "stop_reason": ending.reason}
        )
        try:
            self._run.finish(exit_code=0 if ending.status == "finished" else 1)
        except TimeoutError as error:
            raise Hopeless(str(error)) from None


def local_uri(root: Path) -> str:
    """MLflow's store when nothing else is asked for: one sqlite file beside the studies."""
    return f"sqlite:///{root.absolute()}/mlflow.db"


def mlflow_uri(config: TrackingConfig, root: Path) -> str:
    """Which MLflow: the environment's, else the config's, else the local store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or config.mlflow_uri or local_uri(root)


def make_backends(config: TrackingConfig, root: Path) -> list[Backend]:
    """The trackers that a config asks for; none of them imports anything before it is opened."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    backends: list[Backend] = []
    if config.mlflow:
        backends.append(MlflowBackend(mlflow_uri(config, root), root))
    if config.wandb:
        backends.append(WandbBackend(config.wandb_project))
    return backends
