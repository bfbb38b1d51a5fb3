"""The local record is whole after every step, kill, resume and full disk."""

import json
import subprocess
import sys

from scaling.tracking.local import read_lines, record_path
from scaling.tracking.trackers import open_trackers
from tests.tracking.tracking_parts import NONE, a_run, curve, tracked


def test_every_line_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    run = a_run(tmp_path)
    trackers = open_trackers(NONE, run)
    for step in range(3):
        trackers.log({"loss": 1.5}, step=step)
        assert curve(record_path(run), "loss") == [(s, 1.5) for s in range(step + 1)]
    trackers.finish("finished", "completed")


def test_the_first_line_says_which_run_it_is(tmp_path):
    run = a_run(tmp_path)
    with tracked(NONE, run) as trackers:
        first = read_lines(record_path(run))[0]
    assert first["key"] == trackers.ids["key"]
    assert first["run_info"]["experiment"] == "daily/up"
    assert first["run_info"]["params"]["optimiser.learning_rate"] == 0.0003


def test_a_loss_that_is_not_a_number_is_still_strict_json(tmp_path):
    run = a_run(tmp_path)
    with tracked(NONE, run) as trackers:
        trackers.log({"loss": float("nan"), "norm": float("inf")}, step=1)

    def refuse(constant):
        raise AssertionError(constant)

    lines = [
        json.loads(x, parse_constant=refuse) for x in record_path(run).read_text().splitlines()
    ]
    assert (lines[1]["loss"], lines[1]["norm"]) == ("nan", "inf")


def test_a_resumed_run_drops_what_came_after_its_checkpoint_and_records_nothing_twice(tmp_path):
    run = a_run(tmp_path)
    first = open_trackers(NONE, run)
    for step in range(10):
        first.log({"loss": step}, step=step)
    first.finish("stopped", "96 °C")
    with record_path(run).open("a") as stream:
        stream.write('{"step": 11, "lo')  # a kill cuts a line in half
    second = open_trackers(NONE, run, first.ids, resume_step=6)
    for step in range(5, 12):
        second.log({"loss": step, "norm": 1}, step=step)
    second.finish("finished", "completed")
    assert curve(record_path(run), "loss") == [(step, float(step)) for step in range(12)]
    assert curve(record_path(run), "norm") == [(step, 1.0) for step in range(5, 12)]
    assert second.ids["key"] == first.ids["key"]
    assert [x["ending"]["status"] for x in read_lines(record_path(run)) if "ending" in x] == [
        "finished"
    ]


def test_a_fresh_run_starts_a_record_and_a_key_of_its_own(tmp_path):
    run = a_run(tmp_path)
    with tracked(NONE, run) as first:
        first.log({"loss": 1}, step=1)
    with tracked(NONE, run) as second:
        second.log({"loss": 2}, step=1)
    assert curve(record_path(run), "loss") == [(1, 2.0)]
    assert second.ids["key"] != first.ids["key"]


def test_a_full_disk_is_told_once_and_the_record_is_whole_when_there_is_room_again(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from scaling.config import TrackingConfig
from scaling.tracking.run import RunInfo
from scaling.tracking.trackers import open_trackers
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
    assert done.stderr.count("cannot be written") == 1
    lines = read_lines(tmp_path / "up/2m.metrics.jsonl")
    assert [(x["step"], x["loss"]) for x in lines if "step" in x] == [
        (step, step / 7) for step in range(100)
    ]
