"""The trackers that a config asks for get the run; others are not even imported."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scaling.config import TrackingConfig, load_config
from scaling.identities import run_of
from scaling.sizes import load_model_config
from scaling.tracking.local import record_path
from tests.tracking.tracking_parts import MLFLOW, WANDB, a_run, curve, tracked


def test_tracking_logs_to_wandb(tmp_path, monkeypatch, no_problem):
    import wandb

    calls, real = [], wandb.init

    def init(**settings):
        run = real(**settings)
        object.__setattr__(run, "log", lambda metrics, step: calls.append((metrics, step)))
        return run

    monkeypatch.setattr(wandb, "init", init)
    with tracked(WANDB, a_run(tmp_path)) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    assert calls == [({"train_loss": 0.5}, 10)]


def test_tracking_logs_to_mlflow(tmp_path, store, no_problem):
    with tracked(MLFLOW, a_run(tmp_path)) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    points = store.get_metric_history(trackers.ids["mlflow"], "train_loss")
    assert [(p.step, p.value) for p in points] == [(10, 0.5)]


def test_tracking_saves_config_artifact(tmp_path, store, no_problem):
    config = tmp_path / "threshold_1pct.yaml"
    config.write_text("param_budget: 2m\n")
    with tracked(MLFLOW, a_run(tmp_path)) as trackers:
        trackers.artifact(config)
    kept = tmp_path / "results/mlartifacts/daily/up" / trackers.ids["mlflow"] / "artifacts"
    assert (kept / "threshold_1pct.yaml").read_text() == "param_budget: 2m\n"


@pytest.mark.parametrize("mlflow", [False, True])
@pytest.mark.parametrize("wandb", [False, True])
def test_tracking_handles_disabled_trackers(tmp_path, store, mlflow, wandb, no_problem):
    run = a_run(tmp_path)
    config = TrackingConfig(mlflow=mlflow, wandb=wandb)
    with tracked(config, run) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    asked = {name for name, on in (("mlflow", mlflow), ("wandb", wandb)) if on}
    assert trackers.ids.keys() == {"key"} | asked
    assert curve(record_path(run)) == [(10, 0.5)]


def test_without_trackers_neither_mlflow_nor_wandb_nor_torch_is_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from scaling.config import TrackingConfig\n"
        "from scaling.tracking.run import RunInfo\n"
        "from scaling.tracking.trackers import open_trackers\n"
        f"run = RunInfo('up', '2m', {{}}, {{}}, Path({str(tmp_path)!r}) / 'up', [])\n"
        "trackers = open_trackers(TrackingConfig(mlflow=False), run)\n"
        "trackers.log({'a': 1}, step=1); trackers.finish('finished', 'completed')\n"
        "print({'mlflow', 'wandb', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_no_tracking_key_is_part_of_what_training_depends_on():
    config = load_config(Path("configs/daily/threshold_1pct.yaml"))
    assert "tracking" not in json.dumps(run_of(config, load_model_config("2m"), "x").as_json())


def test_the_settings_on_the_page_about_tracking_are_accepted():
    blocks = re.findall(r"```yaml\n(.*?)```", Path("docs/tracking.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        TrackingConfig(**yaml.safe_load(block)["tracking"])
