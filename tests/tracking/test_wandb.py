"""A run reads back whole from W&B's own files, and a server that does not answer harms nothing."""

import json
import os
import socket
import subprocess
import sys

import pytest

from scaling.tracking.trackers import open_trackers
from tests.tracking.tracking_parts import WANDB, a_run, check_unharmed, read_finished_wandb


def test_wandb_without_a_key_says_what_to_type_and_does_not_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert "wandb login" in check_unharmed(tmp_path, WANDB, "wandb")


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["dead", "silent"])
def test_a_wandb_server_that_does_not_answer_changes_nothing(tmp_path, answers):
    # W&B keeps one connection for each process, so the server must be set in a new process.
    code = """
import sys; from pathlib import Path
from scaling.tracking import wandb
from tests.tracking.tracking_parts import check_unharmed, WANDB
wandb.INIT_SECONDS = 5  # a third of what a training waits
check_unharmed(Path(sys.argv[1]), WANDB, "wandb")
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if answers == "dead":
            listener.close()
        environment = {
            **os.environ,
            "WANDB_MODE": "online",
            "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
            "WANDB_API_KEY": "0" * 40,
        }
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=180
        )


@pytest.mark.slow
def test_a_real_offline_wandb_run_reads_back_whole(tmp_path, monkeypatch, no_problem):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = a_run(tmp_path)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    trackers = open_trackers(WANDB, run)
    trackers.artifact(config)
    for step in range(0, 500, 10):
        trackers.log({"train_loss": 1 / (step + 1)}, step=step)
    trackers.finish("stopped", "96 °C", {"val_skill": 0.12})

    (path,) = run.directory.glob("wandb/offline-run-*/*.wandb")
    records = read_finished_wandb(path)
    curve = []
    for record in records:
        if record.HasField("history"):
            items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            curve.append((json.loads(items["_step"]), json.loads(items["train_loss"])))
    assert curve == [(step, 1 / (step + 1)) for step in range(0, 500, 10)]
    told = next(r.run for r in records if r.HasField("run"))
    assert told.run_id == trackers.ids["key"] == trackers.ids["wandb"]
    assert (told.run_group, told.job_type, told.project) == ("daily/up", "train", "market-scaling")
    assert "budget:2m" in told.tags
    assert json.loads({u.key: u.value_json for u in told.config.update}["seed"]) in (42, "42")
    artifacts = {r.artifact.type: r.artifact for r in records if r.HasField("artifact")} | {
        r.request.log_artifact.artifact.type: r.request.log_artifact.artifact
        for r in records
        if r.HasField("request") and r.request.HasField("log_artifact")
    }
    assert {"dataset", "config"} <= artifacts.keys()
    assert json.loads(artifacts["dataset"].metadata) == {"md5": run.datasets[0][2]}
    assert next(r.exit.exit_code for r in records if r.HasField("exit")) == 1
    summary = {
        u.key or "/".join(u.nested_key): u.value_json
        for r in records
        if r.HasField("summary")
        for u in r.summary.update
    }
    assert json.loads(summary["stop_reason"]) == "96 °C"
