"""Weights & Biases: one group a study, in it a run per budget and seed.

The run's key is its id, so that a resumed run goes on in its own curves. W&B is imported only when
a run is opened.
"""

import os
from pathlib import Path
from typing import Any

from scaling.tracking.run import Ending, Hopeless, Row, RunInfo

ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
# With W&B's own defaults `init` blocked for 101 s if the server was dead, and `finish` for 9 min.
INIT_SECONDS = 15
FINISH_SECONDS = 30
TAG_LENGTH = 64  # W&B refuses longer tags
ARTIFACT_TYPES = {".yaml": "config", ".ckpt": "model"}


def folder_of(run: RunInfo) -> Path:
    """The folder in which W&B makes its folder `wandb`."""
    return Path(os.environ.get("WANDB_DIR", run.directory))


def kept_offline(run: RunInfo, key: str) -> Path | None:
    """Where W&B keeps a run of this machine that it has not uploaded; None if it keeps none."""
    return next(iter(sorted(folder_of(run).glob(f"wandb/offline-run-*-{key}"))), None)


class WandbBackend:
    """Mirrors one run into a project."""

    name = "wandb"

    def __init__(self, project: str) -> None:
        self._project = project
        os.environ.update({**ENVIRONMENT, **os.environ})  # what the user has set stays

    def open(self, run: RunInfo, key: str, started: float) -> str:
        import wandb

        self._wandb, self._info = wandb, run
        mode = self._mode()
        try:
            self._run = wandb.init(
                project=self._project,
                id=key,
                mode=mode,
                resume="allow" if mode == "online" else None,
                group=run.experiment,
                name=f"{run.experiment} {run.run}",
                job_type="train",
                tags=[f"{name}:{value}"[:TAG_LENGTH] for name, value in run.tags.items()],
                config={**run.params, **run.tags},
                dir=folder_of(run),
                settings=wandb.Settings(
                    init_timeout=INIT_SECONDS,
                    finish_timeout=FINISH_SECONDS,
                    finish_timeout_raises=True,
                    console="off",
                    disable_code=True,
                ),
            )
        except wandb.errors.Error as error:
            # W&B has tried again by itself. It keeps the id, so another try would find it in use.
            raise Hopeless(f"{type(error).__name__}: {error}") from None
        self._first_step = self._run.step  # a run that was resumed has the steps before this one
        self._add_datasets(run)
        return key

    def log(self, rows: list[Row]) -> int:
        new = [row for row in rows if row.step >= self._first_step]
        for row in new:
            self._run.log(dict(row.metrics), step=row.step)
        return sum(len(row.metrics) for row in new)

    def artifact(self, path: Path) -> None:
        made = self._wandb.Artifact(
            self._label(f"{self._info.run}-{path.name}"),
            type=ARTIFACT_TYPES.get(path.suffix, "file"),
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

    def _mode(self) -> Any:
        """online, offline or disabled, as the user has set it; `Hopeless` if there is no key."""
        # `wandb offline` writes the mode into W&B's settings and not into the environment.
        mode = os.environ.get("WANDB_MODE") or self._wandb.setup().settings.mode
        # Nobody would answer a prompt for a key. `init` verifies the key, and has a timeout.
        if mode == "online" and not self._wandb.login(prompt=False, verify=False):
            raise Hopeless("no API key: type `wandb login`, or set WANDB_MODE=offline")
        return mode

    def _add_datasets(self, run: RunInfo) -> None:
        for name, path, md5 in run.datasets:
            dataset = self._wandb.Artifact(self._label(name), type="dataset", metadata={"md5": md5})
            # The digest of a reference is the MD5 of the file, as in the manifest.
            dataset.add_reference(Path(path).absolute().as_uri(), name=Path(path).name)
            self._run.log_artifact(dataset)

    def _label(self, name: str) -> str:
        return f"{self._info.experiment}-{name}".replace("/", "-")
