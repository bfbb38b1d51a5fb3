"""No tracker, however slow, dead or broken, changes a training or its local record."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from scaling.config import TrackingConfig
from scaling.tracking import mirror, trackers
from scaling.tracking.mirror import Mirror
from scaling.tracking.run import Ending, Row
from tests.tracking.tracking_parts import MLFLOW, WANDB, a_run, check_unharmed, free_port


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
    monkeypatch.setattr(trackers, "make_backends", lambda config, root: [backend])
    yield backend
    backend.never.set()


def test_logging_does_not_wait_for_a_tracker_and_the_end_waits_only_so_long(
    tmp_path, stuck, monkeypatch
):
    monkeypatch.setattr(mirror, "CLOSING_SECONDS", 0.1)
    assert "still not done" in check_unharmed(tmp_path, MLFLOW, "stuck")


def test_a_tracker_that_falls_too_far_behind_is_given_up(tmp_path, stuck, monkeypatch):
    monkeypatch.setattr(mirror, "QUEUE_LENGTH", 5)
    monkeypatch.setattr(mirror, "CLOSING_SECONDS", 0.1)
    assert "too slow" in check_unharmed(tmp_path, MLFLOW, "stuck")


def test_a_call_that_fails_once_is_made_again_and_nothing_is_lost(tmp_path, no_problem):
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
    copy = Mirror(backend, a_run(tmp_path), "key")
    rows = [Row(step, 0.0, {"loss": 1.0}) for step in range(5)]
    for item in (*rows, Ending("finished", "completed", {}, 4, 0.0)):
        copy.put(item)
    copy.join(time.monotonic() + 30)
    assert backend.rows == rows


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_broken_package_does_not_stop_training(tmp_path, monkeypatch, package):
    for name in (package, "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, name, None)
    config = MLFLOW if package == "mlflow" else WANDB
    check_unharmed(tmp_path, config, package)


@pytest.mark.slow
def test_an_mlflow_server_that_is_dead_from_the_start_changes_nothing(tmp_path):
    config = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{free_port()}")
    check_unharmed(tmp_path, config, "mlflow")


@pytest.mark.slow
def test_an_mlflow_server_that_accepts_and_never_answers_changes_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{listener.getsockname()[1]}")
        check_unharmed(tmp_path, config, "mlflow")


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
        check_unharmed(tmp_path, config, "mlflow")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
