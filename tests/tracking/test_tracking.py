"""Tracking records everything and can break nothing."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from scaling.config import TrackingConfig
from scaling.tracking import local as tracking
from scaling.tracking.backends import local_uri, mlflow_uri
from scaling.tracking.local import Mirror, Row, open_trackers, read_lines, record_path
from tests.tracking.tracking_parts import (
    a_run,
    free_port,
    read_finished_wandb,
    start_server,
    stop_server,
)

NONE = TrackingConfig(mlflow=False)
MLFLOW = TrackingConfig()
WANDB = TrackingConfig(mlflow=False, wandb=True)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    from scaling.tracking.backends import MlflowBackend

    root = tmp_path_factory.mktemp("store")
    MlflowBackend(local_uri(root), root).make_store()
    return root / "mlflow.db"


@pytest.fixture
def store(tmp_path, empty_store):
    """A local store whose tables are made already, as `track init` leaves it."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")
    return client_of(local_uri(tmp_path / "results"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port()
    process = start_server(tmp_path_factory.mktemp("server"), port)
    yield f"http://127.0.0.1:{port}"
    stop_server(process)


def client_of(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


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


def train(trackers, steps=20):
    """Stands in for training: numbers that would differ if anything were disturbed."""
    generator = random.Random(42)
    weight, losses = 0.0, []
    for step in range(steps):
        weight += generator.gauss(0, 1) + random.random() + float(np.random.random())
        losses.append(weight)
        trackers.log({"train_loss": weight}, step=step)
    return losses


def undisturbed(tmp_path):
    random.seed(1)
    np.random.seed(1)
    with open_trackers(NONE, a_run(tmp_path / "undisturbed")) as trackers:
        losses = train(trackers)
    return losses, random.getstate(), np.random.get_state()[1].tolist()


def curve(path, name="train_loss"):
    return [(line["step"], line[name]) for line in read_lines(path) if name in line]


def check_unharmed(tmp_path, config, said, name):
    """Train beside a tracker that fails: same numbers, whole record, one line that says so."""
    expected, state, numpy_state = undisturbed(tmp_path)
    random.seed(1)
    np.random.seed(1)
    run = a_run(tmp_path)
    trackers = open_trackers(config, run, on_problem=said.append)
    assert train(trackers) == expected
    trackers.finish("finished", "completed", {"skill": 0.1})
    assert (random.getstate(), np.random.get_state()[1].tolist()) == (state, numpy_state)
    assert curve(record_path(run)) == list(enumerate(expected))
    assert read_lines(record_path(run))[-1]["ending"]["status"] == "finished"
    assert len(said) == 1
    assert f"python -m scaling.track sync --results {run.directory} --to {name}" in said[0]
    assert "\n" not in said[0]


# The plan's four


def test_tracking_logs_to_wandb(tmp_path, monkeypatch):
    import wandb

    calls, real = [], wandb.init

    def init(**settings):
        run = real(**settings)
        object.__setattr__(run, "log", lambda metrics, step: calls.append((metrics, step)))
        return run

    monkeypatch.setattr(wandb, "init", init)
    with open_trackers(WANDB, a_run(tmp_path), on_problem=pytest.fail) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    assert calls == [({"train_loss": 0.5}, 10)]


@pytest.mark.filterwarnings("ignore:.*filesystem:FutureWarning")
def test_tracking_logs_to_mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/mlruns"
    config = TrackingConfig(mlflow_uri=uri)
    with open_trackers(config, a_run(tmp_path), on_problem=pytest.fail) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    points = client_of(uri).get_metric_history(trackers.ids["mlflow"], "train_loss")
    assert [(p.step, p.value) for p in points] == [(10, 0.5)]


def test_tracking_saves_config_artifact(tmp_path, store):
    config = tmp_path / "threshold_1pct.yaml"
    config.write_text("param_budget: 2m\n")
    with open_trackers(MLFLOW, a_run(tmp_path), on_problem=pytest.fail) as trackers:
        trackers.artifact(config)
    kept = tmp_path / "results/mlartifacts/daily/up" / trackers.ids["mlflow"] / "artifacts"
    assert (kept / "threshold_1pct.yaml").read_text() == "param_budget: 2m\n"


@pytest.mark.parametrize("mlflow", [False, True])
@pytest.mark.parametrize("wandb", [False, True])
def test_tracking_handles_disabled_trackers(tmp_path, store, mlflow, wandb):
    run = a_run(tmp_path)
    config = TrackingConfig(mlflow=mlflow, wandb=wandb)
    with open_trackers(config, run, on_problem=pytest.fail) as trackers:
        trackers.log({"train_loss": 0.5}, step=10)
    asked = {name for name, on in (("mlflow", mlflow), ("wandb", wandb)) if on}
    assert trackers.ids.keys() == {"key"} | asked
    assert curve(record_path(run)) == [(10, 0.5)]


# The local record


def test_without_trackers_neither_mlflow_nor_wandb_nor_torch_is_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from scaling.config import TrackingConfig\n"
        "from scaling.tracking.local import RunInfo, open_trackers\n"
        f"run = RunInfo('up', '2m', {{}}, {{}}, Path({str(tmp_path)!r}) / 'up', [])\n"
        "with open_trackers(TrackingConfig(mlflow=False), run) as t: t.log({'a': 1}, step=1)\n"
        "print({'mlflow', 'wandb', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_line_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    run = a_run(tmp_path)
    trackers = open_trackers(NONE, run)
    for step in range(3):
        trackers.log({"loss": 1.5}, step=step)
        assert curve(record_path(run), "loss") == [(s, 1.5) for s in range(step + 1)]
    trackers.finish("finished", "completed")


def test_the_first_line_says_which_run_it_is(tmp_path):
    run = a_run(tmp_path)
    with open_trackers(NONE, run) as trackers:
        first = read_lines(record_path(run))[0]
    assert first["key"] == trackers.ids["key"]
    assert first["run_info"]["experiment"] == "daily/up"
    assert first["run_info"]["params"]["optimiser.learning_rate"] == 0.0003


def test_a_loss_that_is_not_a_number_is_still_strict_json(tmp_path):
    run = a_run(tmp_path)
    with open_trackers(NONE, run) as trackers:
        trackers.log({"loss": float("nan"), "norm": float("inf")}, step=1)

    def refuse(constant):
        raise AssertionError(constant)

    lines = [
        json.loads(x, parse_constant=refuse) for x in record_path(run).read_text().splitlines()
    ]
    assert (lines[1]["loss"], lines[1]["norm"]) == ("nan", "inf")


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_keeps_its_key(tmp_path):
    run = a_run(tmp_path)
    first = open_trackers(NONE, run)
    for step in range(10):
        first.log({"loss": step}, step=step)
    first.finish("stopped", "96 °C")
    with record_path(run).open("a") as stream:
        stream.write('{"step": 11, "lo')  # a kill cuts a line in half
    second = open_trackers(NONE, run, resume_step=6)
    for step in range(7, 12):
        second.log({"loss": step}, step=step)
    second.finish("finished", "completed")
    assert [step for step, _ in curve(record_path(run), "loss")] == list(range(12))
    assert second.ids["key"] == first.ids["key"]
    assert [x["ending"]["status"] for x in read_lines(record_path(run)) if "ending" in x] == [
        "finished"
    ]


def test_a_resumed_epoch_that_is_logged_again_from_its_start_stands_in_the_record_once(tmp_path):
    run = a_run(tmp_path)
    first = open_trackers(NONE, run)
    for step in range(10):
        first.log({"loss": step}, step=step)
    second = open_trackers(NONE, run, first.ids, resume_step=7)
    for step in range(5, 12):
        second.log({"loss": step}, step=step)
    second.log({"val_skill": 0.1}, step=11)
    second.finish("finished", "completed")
    first.finish("failed", "killed")
    assert curve(record_path(run), "loss") == [(step, float(step)) for step in range(12)]
    assert curve(record_path(run), "val_skill") == [(11, 0.1)]


def test_a_fresh_run_starts_a_record_and_a_key_of_its_own(tmp_path):
    run = a_run(tmp_path)
    with open_trackers(NONE, run) as first:
        first.log({"loss": 1}, step=1)
    with open_trackers(NONE, run) as second:
        second.log({"loss": 2}, step=1)
    assert curve(record_path(run), "loss") == [(1, 2.0)]
    assert second.ids["key"] != first.ids["key"]


def test_an_exception_marks_the_run_failed_and_says_why(tmp_path):
    run = a_run(tmp_path)
    with pytest.raises(ZeroDivisionError), open_trackers(NONE, run):
        _ = 1 / 0
    ending = read_lines(record_path(run))[-1]["ending"]
    assert (ending["status"], ending["reason"]) == ("failed", "ZeroDivisionError: division by zero")


def test_a_full_disk_is_told_once_and_the_record_is_whole_when_there_is_room_again(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from scaling.config import TrackingConfig
from scaling.tracking.local import RunInfo, open_trackers
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
run = RunInfo("up", "2m", {}, {}, Path(sys.argv[1]) / "up", [])
trackers = open_trackers(TrackingConfig(mlflow=False), run)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
for step in range(100):
    if step == 90:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    trackers.log({"loss": step / 7}, step=step)
trackers.finish("finished", "completed")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("cannot be written") == 1
    lines = read_lines(tmp_path / "up/2m.metrics.jsonl")
    assert [(x["step"], x["loss"]) for x in lines if "step" in x] == [
        (step, step / 7) for step in range(100)
    ]


# It can break nothing


class Stuck:
    """A tracker that never answers."""

    name = "stuck"

    def __init__(self):
        self.never = threading.Event()

    def open(self, run, key, started):
        self.never.wait()
        return key


@pytest.fixture
def stuck(monkeypatch):
    backend = Stuck()
    monkeypatch.setattr(tracking, "make_backends", lambda config, root: [backend])
    yield backend
    backend.never.set()


def test_logging_does_not_wait_for_a_tracker_and_the_end_waits_only_so_long(
    tmp_path, stuck, monkeypatch
):
    monkeypatch.setattr(tracking, "CLOSING_SECONDS", 0.1)
    check_unharmed(tmp_path, MLFLOW, said := [], "stuck")
    assert "still not done" in said[0]


def test_a_tracker_that_falls_too_far_behind_is_given_up(tmp_path, stuck, monkeypatch):
    monkeypatch.setattr(tracking, "QUEUE_LENGTH", 5)
    monkeypatch.setattr(tracking, "CLOSING_SECONDS", 0.1)
    check_unharmed(tmp_path, MLFLOW, said := [], "stuck")
    assert "too slow" in said[0]


def test_a_call_that_fails_once_is_made_again_and_nothing_is_lost(tmp_path):
    class Stumbles(Stuck):
        rows, failures = [], 0

        def open(self, run, key, started):
            return key

        def log(self, rows):
            if not self.failures:
                self.failures = 1
                raise ConnectionError
            self.rows += rows

        def close(self, ending):
            pass

    backend = Stumbles()
    mirror = Mirror(backend, a_run(tmp_path), "key", pytest.fail)
    rows = [Row(step, 0.0, {"loss": 1.0}) for step in range(5)]
    for item in (*rows, tracking.Ending("finished", "completed", {}, 4, 0.0)):
        mirror.put(item)
    mirror.join(time.monotonic() + 30)
    assert backend.rows == rows


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_broken_package_does_not_stop_training(tmp_path, monkeypatch, package):
    for name in (package, "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, name, None)
    config = MLFLOW if package == "mlflow" else WANDB
    check_unharmed(tmp_path, config, [], package)


@pytest.mark.slow
def test_an_mlflow_server_that_is_dead_from_the_start_changes_nothing(tmp_path):
    config = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{free_port()}")
    check_unharmed(tmp_path, config, [], "mlflow")


@pytest.mark.slow
def test_an_mlflow_server_that_accepts_and_never_answers_changes_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{listener.getsockname()[1]}")
        check_unharmed(tmp_path, config, [], "mlflow")


@pytest.mark.slow
@pytest.mark.parametrize("answers", ["dead", "silent"])
def test_a_wandb_server_that_does_not_answer_changes_nothing(tmp_path, answers):
    # In its own process: W&B keeps one connection per process, and this one is spoilt.
    code = """
import sys; from pathlib import Path
from tests.tracking.test_tracking import check_unharmed, WANDB
check_unharmed(Path(sys.argv[1]), WANDB, [], "wandb")
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


def test_wandb_without_a_key_says_what_to_type_and_does_not_ask(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    check_unharmed(tmp_path, WANDB, said := [], "wandb")
    assert "wandb login" in said[0]


@pytest.mark.slow
def test_a_full_disk_under_mlflow_leaves_training_and_its_record_whole(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk cannot be made here: no `mount`")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        config = TrackingConfig(mlflow_uri=f"sqlite:///{small}/mlflow.db")
        check_unharmed(tmp_path, config, [], "mlflow")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_is_made_good_by_sync_without_duplicates(tmp_path):
    from scaling.track import main

    folder = tmp_path / "server"
    folder.mkdir()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    process = start_server(folder, port)
    run = a_run(tmp_path)
    trackers = open_trackers(TrackingConfig(mlflow_uri=uri), run, on_problem=(said := []).append)
    try:
        trackers.log({"train_loss": 0.0}, step=0)
        wait_for(lambda: "mlflow" in trackers.ids)
        wait_for(lambda: client_of(uri).get_metric_history(trackers.ids["mlflow"], "train_loss"))
    finally:
        stop_server(process)
    for step in range(1, 30):
        trackers.log({"train_loss": step / 7}, step=step)
    trackers.finish("finished", "completed")
    assert len(said) == 1
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


def wait_for(condition):
    pause = threading.Event()
    for _ in range(300):
        if condition():
            return
        pause.wait(0.1)
    raise AssertionError("it did not come within 30 s")


# Against real parts


@pytest.mark.slow
def test_a_stopped_run_reads_back_whole_from_a_real_server(tmp_path, server):
    run = a_run(tmp_path)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    trackers = open_trackers(TrackingConfig(mlflow_uri=server), run, on_problem=pytest.fail)
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


def test_a_resumed_run_continues_its_mlflow_run_without_a_second_point_per_step(tmp_path, store):
    run = a_run(tmp_path)
    first = open_trackers(MLFLOW, run, on_problem=pytest.fail)
    for step in range(10):
        first.log({"loss": step}, step=step)
    first.finish("stopped", "96 °C")
    second = open_trackers(MLFLOW, run, first.ids, on_problem=pytest.fail, resume_step=6)
    for step in range(7, 15):
        second.log({"loss": step}, step=step)
    second.finish("finished", "completed")
    assert second.ids == first.ids
    points = store.get_metric_history(second.ids["mlflow"], "loss")
    assert sorted(p.step for p in points) == list(range(15))
    again = store.get_run(second.ids["mlflow"])
    assert (again.info.status, again.data.tags["stop_reason"]) == ("FINISHED", "completed")


@pytest.mark.slow
def test_six_jobs_that_start_at_once_make_one_store_one_parent_and_six_children(tmp_path):
    code = """
import sys; from pathlib import Path
from scaling.config import TrackingConfig
from scaling.tracking import local as tracking
from scaling.tracking.local import open_trackers
from tests.tracking.tracking_parts import a_run
tracking.CLOSING_SECONDS = 400  # six imports of mlflow share a small machine
problems = []
run = a_run(Path(sys.argv[1]), f"2m.seed{sys.argv[2]}")
with open_trackers(TrackingConfig(), run, on_problem=problems.append) as trackers:
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
def test_a_real_offline_wandb_run_reads_back_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = a_run(tmp_path)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    trackers = open_trackers(WANDB, run, on_problem=pytest.fail)
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


@pytest.mark.slow
@pytest.mark.browser
def test_the_mlflow_page_of_a_study_shows_its_runs_and_their_curves(tmp_path, server):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no `chromium` on this machine (Debian: apt-get install chromium)")
    ids = []
    for name, level in (("2m", 0.5), ("20m", 0.4)):
        run = a_run(tmp_path, name, "daily/page")
        config = TrackingConfig(mlflow_uri=server)
        with open_trackers(config, run, on_problem=pytest.fail) as trackers:
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


# Which store


def test_the_environment_beats_the_config_and_the_config_beats_the_local_store(
    tmp_path, monkeypatch
):
    asked = TrackingConfig(mlflow_uri="http://config:5000")
    assert mlflow_uri(MLFLOW, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert mlflow_uri(asked, tmp_path) == "http://config:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    assert mlflow_uri(asked, tmp_path) == "http://environment:5000"


def test_no_tracking_key_is_part_of_what_training_depends_on():
    from scaling.config import load_config, load_model_config, training_identity

    config = load_config(Path("configs/daily/threshold_1pct.yaml"))
    assert "tracking" not in json.dumps(training_identity(config, load_model_config("2m")))
