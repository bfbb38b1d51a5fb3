"""MLflow's runs outlive a server that dies, a resume, and jobs that start at once."""

import subprocess
import sys

import pytest

from scaling.config import TrackingConfig
from scaling.track import main
from scaling.tracking.local import record_path
from scaling.tracking.mlflow import local_uri, mlflow_uri
from scaling.tracking.trackers import open_trackers
from tests.tracking.tracking_parts import (
    MLFLOW,
    a_run,
    client_of,
    curve,
    free_port,
    mlflow_server,
    wait_for,
)


def test_the_environment_beats_the_config_and_the_config_beats_the_local_store(
    tmp_path, monkeypatch
):
    asked = TrackingConfig(mlflow_uri="http://config:5000")
    assert mlflow_uri(MLFLOW, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert mlflow_uri(asked, tmp_path) == "http://config:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    assert mlflow_uri(asked, tmp_path) == "http://environment:5000"


def test_a_resumed_run_continues_its_mlflow_run_without_a_second_point_per_step(
    tmp_path, store, no_problem
):
    run = a_run(tmp_path)
    first = open_trackers(MLFLOW, run)
    for step in range(10):
        first.log({"loss": step}, step=step)
    first.finish("stopped", "96 °C")
    second = open_trackers(MLFLOW, run, first.ids, resume_step=6)
    for step in range(7, 15):
        second.log({"loss": step}, step=step)
    second.finish("finished", "completed")
    assert second.ids == first.ids
    points = store.get_metric_history(second.ids["mlflow"], "loss")
    assert sorted(p.step for p in points) == list(range(15))
    again = store.get_run(second.ids["mlflow"])
    assert (again.info.status, again.data.tags["stop_reason"]) == ("FINISHED", "completed")


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_is_made_good_by_sync_without_duplicates(tmp_path, caplog):
    port, run = free_port(), a_run(tmp_path)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    with mlflow_server(tmp_path, port) as uri:
        trackers = open_trackers(TrackingConfig(mlflow_uri=uri), run)
        trackers.artifact(config)
        trackers.log({"train_loss": 0.0}, step=0)
        wait_for(lambda: "mlflow" in trackers.ids)
        wait_for(lambda: client_of(uri).get_metric_history(trackers.ids["mlflow"], "train_loss"))
    for step in range(1, 30):
        trackers.log({"train_loss": step / 7}, step=step)
    trackers.finish("finished", "completed")
    assert len([r for r in caplog.records if r.name.startswith("scaling")]) == 1
    expected = [(step, step / 7) for step in range(30)]
    assert curve(record_path(run)) == expected

    with mlflow_server(tmp_path, port):
        main(["sync", "--results", str(run.directory)])
        client, key = client_of(uri), trackers.ids["mlflow"]
        points = client.get_metric_history(key, "train_loss")
        assert sorted((p.step, p.value) for p in points) == expected
        assert [f.path for f in client.list_artifacts(key)] == ["up.yaml"]
        assert client.get_run(key).info.status == "FINISHED"


@pytest.mark.slow
def test_six_jobs_that_start_at_once_make_one_store_one_parent_and_six_children(tmp_path):
    code = """
import sys; from pathlib import Path
from scaling.config import TrackingConfig
from scaling.tracking import mirror
from tests.tracking.tracking_parts import a_run, heard, tracked
mirror.CLOSING_SECONDS = 400  # six processes import MLflow at once
run = a_run(Path(sys.argv[1]), f"2m.seed{sys.argv[2]}")
with heard() as problems, tracked(TrackingConfig(), run) as trackers:
    trackers.log({"loss": 1.0}, step=1)
assert not problems, problems
"""
    a_run(tmp_path)
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(seed)])
        for seed in range(6)
    ]
    assert [job.wait() for job in jobs] == [0] * 6
    client = client_of(local_uri(tmp_path / "results"))
    experiment = client.get_experiment_by_name("daily/up")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(parents) == 1
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    assert {r.info.run_name for r in children} == {f"2m.seed{seed}" for seed in range(6)}
