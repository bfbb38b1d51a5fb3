"""`sync` adds what a tracker lacks, and nothing twice. `init` makes the store."""

import json

import pytest

from scaling.errors import UserError
from scaling.track import main
from scaling.tracking import local
from scaling.tracking.local import KILLED, record_path
from scaling.tracking.mlflow import local_uri
from scaling.tracking.trackers import open_trackers
from tests.tracking.tracking_parts import (
    NONE,
    a_run,
    free_port,
    of_wandb,
    read_finished_wandb,
)


def trained_without_trackers(tmp_path, run="2m", **ending):
    """A run of a study that no tracker has; returns what is known of it and its key."""
    info = a_run(tmp_path, run)
    config = tmp_path / "up.yaml"
    config.write_text("seed: 42\n")
    trackers = open_trackers(NONE, info)
    trackers.artifact(config)
    for step in range(20):
        trackers.log({"train_loss": 1 / (step + 1), "learning_rate": 3e-4}, step=step)
    trackers.finish(**(ending or {"status": "finished", "reason": "completed"}))
    return info, trackers.ids["key"]


def sync(info, *more):
    main(["sync", "--results", str(info.directory), "--to", "mlflow", *more])


def only_child(store):
    experiment = store.get_experiment_by_name("daily/up")
    runs = store.search_runs([experiment.experiment_id], "tags.scaling_key != ''")
    assert len(runs) == 1
    return runs[0]


def test_sync_brings_a_whole_run_into_a_store_that_never_heard_of_it(tmp_path, store, capsys):
    info, key = trained_without_trackers(
        tmp_path, status="stopped", reason="96 °C", summary={"val_skill": 0.12}
    )
    sync(info)
    run = only_child(store)
    points = store.get_metric_history(run.info.run_id, "train_loss")
    assert sorted((p.step, p.value) for p in points) == [(s, 1 / (s + 1)) for s in range(20)]
    assert (run.info.status, run.data.tags["stop_reason"]) == ("KILLED", "96 °C")
    assert (info.tags | {"scaling_key": key}).items() <= run.data.tags.items()
    assert run.data.params == {name: str(value) for name, value in info.params.items()}
    assert run.inputs.dataset_inputs[0].dataset.digest == info.datasets[0][2]
    assert store.get_run(run.data.tags["mlflow.parentRunId"]).info.status == "FINISHED"
    assert run.data.metrics["summary/val_skill"] == 0.12
    assert run.info.start_time <= run.info.end_time
    assert [f.path for f in store.list_artifacts(run.info.run_id)] == ["up.yaml"]
    assert "40 points were missing" in capsys.readouterr().out


def test_a_second_sync_adds_nothing(tmp_path, store, capsys):
    info, _ = trained_without_trackers(tmp_path)
    sync(info)
    before = only_child(store)
    capsys.readouterr()
    sync(info)
    assert "0 points were missing" in capsys.readouterr().out
    after = only_child(store)
    assert len(store.get_metric_history(after.info.run_id, "train_loss")) == 20
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)


def test_sync_fills_only_the_gap(tmp_path, store, capsys):
    from mlflow.entities import Metric

    info, key = trained_without_trackers(tmp_path)
    experiment = store.create_experiment("daily/up")
    run = store.create_run(experiment, tags={"scaling_key": key}, run_name="2m").info.run_id
    store.log_batch(run, metrics=[Metric("train_loss", 1 / (s + 1), 5, s) for s in range(7)])
    sync(info)
    assert "33 points were missing" in capsys.readouterr().out
    steps = [p.step for p in store.get_metric_history(run, "train_loss")]
    assert sorted(steps) == list(range(20))


def test_a_run_that_was_killed_is_marked_failed_and_says_so(tmp_path, store):
    info, _ = trained_without_trackers(tmp_path)
    lines = record_path(info).read_text().splitlines(keepends=True)
    record_path(info).write_text("".join(lines[:-1]) + lines[-2][:9])
    sync(info)
    run = only_child(store)
    assert (run.info.status, run.data.tags["stop_reason"]) == ("FAILED", KILLED)


def test_a_run_that_is_still_training_is_not_marked_as_ended(tmp_path, store):
    info = a_run(tmp_path)
    trackers = open_trackers(NONE, info)
    trackers.log({"train_loss": 0.5}, step=1)
    sync(info)
    assert only_child(store).info.status == "RUNNING"
    trackers.finish("finished", "completed")


def test_a_run_that_ends_while_its_record_is_read_is_not_marked_as_killed(
    tmp_path, store, monkeypatch
):
    info = a_run(tmp_path)
    trackers = open_trackers(NONE, info)
    trackers.log({"train_loss": 0.5}, step=1)
    read_lines = local.read_lines

    def read_and_end(path):
        lines = read_lines(path)
        trackers.finish("finished", "completed")
        return lines

    monkeypatch.setattr(local, "read_lines", read_and_end)
    sync(info)
    assert only_child(store).info.status == "RUNNING"


def test_only_the_run_that_is_named_is_sent(tmp_path, store):
    info, _ = trained_without_trackers(tmp_path)
    trained_without_trackers(tmp_path, "2m.seed43")
    sync(info, "--run", "2m.seed43")
    assert only_child(store).info.run_name == "2m.seed43"


def test_a_folder_without_records_is_refused_with_an_example(tmp_path):
    with pytest.raises(UserError, match=r"--results results/daily/threshold_1pct"):
        main(["sync", "--results", str(tmp_path)])


def test_a_server_that_is_not_there_is_one_line_and_not_a_traceback(tmp_path):
    info, _ = trained_without_trackers(tmp_path)
    with pytest.raises(UserError, match="mlflow did not take it") as error:
        sync(info, "--mlflow-uri", f"http://127.0.0.1:{free_port()}")
    assert "\n" not in str(error.value)


def test_sync_without_a_wandb_key_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    info, _ = trained_without_trackers(tmp_path)
    with pytest.raises(UserError, match="did not take it .no API key: type `wandb login`") as error:
        main(["sync", "--results", str(info.directory), "--to", "wandb"])
    assert "server" not in str(error.value)


def test_the_flag_for_a_store_beats_the_environment(tmp_path, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    info, _ = trained_without_trackers(tmp_path)
    sync(info, "--mlflow-uri", local_uri(tmp_path / "results"))
    assert only_child(store).info.status == "FINISHED"


@pytest.mark.parametrize("chosen", [False, True], ids=["the run's folder", "a chosen folder"])
def test_sync_keeps_a_whole_run_for_wandb_offline_once(tmp_path, monkeypatch, capsys, chosen):
    monkeypatch.setenv("WANDB_MODE", "offline")
    info, key = trained_without_trackers(
        tmp_path, status="stopped", reason="96 °C", summary={"val_skill": 0.12}
    )
    folder = info.directory
    if chosen:
        folder = tmp_path / "chosen"
        folder.mkdir()
        monkeypatch.setenv("WANDB_DIR", str(folder))
    for _ in range(2):
        main(["sync", "--results", str(info.directory), "--to", "wandb"])
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert f"wandb sync {path.parent}" in capsys.readouterr().out
    records = read_finished_wandb(path)
    losses = [of_wandb(r.history.item)["train_loss"] for r in records if r.HasField("history")]
    assert losses == [1 / (step + 1) for step in range(20)]
    told = next(r.run for r in records if r.HasField("run"))
    assert (told.run_id, told.run_group, told.project) == (key, "daily/up", "market-scaling")
    assert "budget:2m" in told.tags
    assert of_wandb(told.config.update)["seed"] == "42"
    artifacts = [r.request.log_artifact.artifact for r in records if r.HasField("request")]
    artifacts += [r.artifact for r in records if r.HasField("artifact")]
    metadata = {artifact.type: artifact.metadata for artifact in artifacts}
    assert {"dataset", "config"} <= metadata.keys()
    assert json.loads(metadata["dataset"]) == {"md5": info.datasets[0][2]}
    summary = {k: v for r in records for k, v in of_wandb(r.summary.update).items()}
    assert (summary["val_skill"], summary["stop_reason"]) == (0.12, "96 °C")
    assert next(r.exit.exit_code for r in records if r.HasField("exit")) == 1


def test_init_a_second_time_keeps_what_is_there(tmp_path, store, capsys):
    store.create_experiment("daily/up")
    main(["init", "--results", str(tmp_path / "results")])
    assert store.get_experiment_by_name("daily/up") is not None
    assert "mlflow ui --backend-store-uri" in capsys.readouterr().out
