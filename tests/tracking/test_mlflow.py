"""A run reads back whole from MLflow: from a server, from a local store, and after a resume."""

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

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
    start_server,
    stop_server,
    tracked,
    wait_for,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("server"), port)
    yield f"http://127.0.0.1:{port}"
    stop_server(process)


def rest(server, path, **query):
    url = f"{server}/api/2.0/mlflow/{path}"
    if path.endswith("search"):
        request = urllib.request.Request(
            url, json.dumps(query).encode(), {"Content-Type": "application/json"}
        )
    else:
        request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


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
    folder = tmp_path / "server"
    folder.mkdir()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    process = start_server(folder, port)
    run = a_run(tmp_path)
    trackers = open_trackers(TrackingConfig(mlflow_uri=uri), run)
    try:
        trackers.log({"train_loss": 0.0}, step=0)
        wait_for(lambda: "mlflow" in trackers.ids)
        wait_for(lambda: client_of(uri).get_metric_history(trackers.ids["mlflow"], "train_loss"))
    finally:
        stop_server(process)
    for step in range(1, 30):
        trackers.log({"train_loss": step / 7}, step=step)
    trackers.finish("finished", "completed")
    assert len([r for r in caplog.records if r.name.startswith("scaling")]) == 1
    expected = [(step, step / 7) for step in range(30)]
    assert curve(record_path(run)) == expected

    process = start_server(folder, port)
    try:
        main(["sync", "--results", str(run.directory)])
        points = client_of(uri).get_metric_history(trackers.ids["mlflow"], "train_loss")
        assert sorted((p.step, p.value) for p in points) == expected
        assert client_of(uri).get_run(trackers.ids["mlflow"]).info.status == "FINISHED"
    finally:
        stop_server(process)


@pytest.mark.slow
def test_a_stopped_run_reads_back_whole_from_a_real_server(tmp_path, server, no_problem):
    run = a_run(tmp_path)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    trackers = open_trackers(TrackingConfig(mlflow_uri=server), run)
    trackers.artifact(config)
    for step in range(0, 3000, 10):
        trackers.log({"train_loss": 1 / (step + 1), "learning_rate": 3e-4}, step=step)
    trackers.finish("stopped", "96 °C", {"val_skill": 0.12, "best_weights": "epoch 3"})

    told = rest(server, "runs/get", run_id=trackers.ids["mlflow"])["run"]
    assert told["info"]["status"] == "KILLED"
    assert told["info"]["run_name"] == "2m"
    tags = {t["key"]: t["value"] for t in told["data"]["tags"]}
    assert tags["stop_reason"] == "96 °C"
    assert run.tags.items() <= tags.items()
    assert {p["key"]: p["value"] for p in told["data"]["params"]} == {
        name: str(value) for name, value in run.params.items()
    }
    assert told["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == run.datasets[0][2]
    points = rest(
        server,
        "metrics/get-history",
        run_id=trackers.ids["mlflow"],
        metric_key="train_loss",
        max_results=1000,
    )["metrics"]
    assert sorted((p["step"], p["value"]) for p in points) == [
        (step, 1 / (step + 1)) for step in range(0, 3000, 10)
    ]
    latest = {m["key"]: m["value"] for m in told["data"]["metrics"]}
    assert latest["summary/val_skill"] == 0.12
    files = rest(server, "artifacts/list", run_id=trackers.ids["mlflow"])["files"]
    assert [f["path"] for f in files] == ["up.yaml"]
    parent = rest(server, "runs/get", run_id=tags["mlflow.parentRunId"])["run"]
    assert parent["info"]["status"] == "FINISHED"
    experiment = rest(server, "experiments/get", experiment_id=told["info"]["experiment_id"])
    assert experiment["experiment"]["name"] == "daily/up"


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


@pytest.mark.slow
@pytest.mark.browser
def test_the_mlflow_page_of_a_study_shows_its_runs_and_their_curves(tmp_path, server, no_problem):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no `chromium` on this machine (Debian: apt-get install chromium)")
    ids = []
    for name, level in (("2m", 0.5), ("20m", 0.4)):
        run = a_run(tmp_path, name, "daily/page")
        config = TrackingConfig(mlflow_uri=server)
        with tracked(config, run) as trackers:
            for step in range(30):
                trackers.log({"train_loss": level + 1 / (step + 3)}, step=step)
        ids.append(trackers.ids["mlflow"])
    experiment = client_of(server).get_experiment_by_name("daily/page").experiment_id
    query = {
        "runs": json.dumps(ids),
        "metric": '"train_loss"',
        "experiments": json.dumps([experiment]),
        "plot_metric_keys": '["train_loss"]',
        "plot_layout": "{}",
        "x_axis": "step",
        "y_axis_scale": "linear",
        "line_smoothness": "1",
        "show_point": "false",
        "deselected_curves": "[]",
        "last_linear_y_axis_range": "[]",
    }

    def page(address):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1800,1000"]
        options += [f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=60000"]
        done = subprocess.run(
            [chromium, *options, "--dump-dom", f"{server}/#/{address}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        return done.stdout

    study = page(f"experiments/{experiment}/runs")
    assert re.search(r">study<", study)
    assert re.search(r"<[^>]*>3</[^>]*>[^<]*matching runs", study)
    curves = page(f"metric?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}")
    paths = re.findall(r'<path class="js-line"[^>]* d="([^"]*)"', curves)
    drawn = {path for path in paths if path.count("L") + path.count(",") >= 30}
    assert len(drawn) == 2
    for name in ("2m", "20m"):
        assert re.search(rf"<a [^>]*>{name}</a>", curves)
