"""No tracker, however slow, dead or broken, changes a training or its local record."""

import socket
import sys
import threading
import time

import pytest

from scaling.config import TrackingConfig
from scaling.tracking import mirror, trackers
from scaling.tracking.mirror import Mirror
from scaling.tracking.run import Ending, Row
from tests.tracking.tracking_parts import MLFLOW, WANDB, a_run, check_unharmed


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
@pytest.mark.parametrize("answers", ["dead", "silent"])
def test_an_mlflow_server_that_does_not_answer_changes_nothing(tmp_path, answers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = TrackingConfig(mlflow_uri=f"http://127.0.0.1:{listener.getsockname()[1]}")
        if answers == "dead":
            listener.close()
        check_unharmed(tmp_path, config, "mlflow")
