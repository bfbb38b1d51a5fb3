"""What the tests of tracking share: a run, a training, an MLflow server, W&B's files read back."""

import contextlib
import json
import logging
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np

from scaling.config import TrackingConfig
from scaling.record import file_md5
from scaling.tracking.local import read_lines, record_path
from scaling.tracking.run import RunInfo
from scaling.tracking.trackers import open_trackers

NONE = TrackingConfig(mlflow=False)
MLFLOW = TrackingConfig()
WANDB = TrackingConfig(mlflow=False, wandb=True)


def a_run(root: Path, run: str = "2m", experiment: str = "daily/up") -> RunInfo:
    """A run of a study under `root`, with a file of prices."""
    directory = root / "results" / experiment
    directory.mkdir(parents=True, exist_ok=True)
    prices = root / "SPY.parquet"
    prices.write_bytes(b"prices")
    return RunInfo(
        experiment=experiment,
        run=run,
        params={"seed": 42, "optimiser.learning_rate": 0.0003, "window.context_length": 64},
        tags={"budget": "2m", "seed": "42", "prices": file_md5(prices), "device": "cpu"},
        directory=directory,
        datasets=[("SPY", str(prices), file_md5(prices))],
    )


def train(trackers, steps=20):
    """Log a training whose losses would differ if a tracker drew from the random generators."""
    generator = random.Random(42)
    weight, losses = 0.0, []
    for step in range(steps):
        weight += generator.gauss(0, 1) + random.random() + float(np.random.random())
        losses.append(weight)
        trackers.log({"train_loss": weight}, step=step)
    return losses


@contextlib.contextmanager
def tracked(config, run):
    """The trackers of a run that completes."""
    trackers = open_trackers(config, run)
    yield trackers
    trackers.finish("finished", "completed")


def undisturbed(tmp_path):
    """The losses of a training that nobody tracks, and the states of the generators after it."""
    random.seed(1)
    np.random.seed(1)
    with tracked(NONE, a_run(tmp_path / "undisturbed")) as trackers:
        losses = train(trackers)
    return losses, random.getstate(), np.random.get_state()[1].tolist()


def curve(path, name="train_loss"):
    """Step and value of one metric, as the local record has them."""
    return [(line["step"], line[name]) for line in read_lines(path) if name in line]


@contextlib.contextmanager
def heard():
    """A list of what the library says."""
    said, handler = [], logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("scaling").addHandler(handler)
    yield said
    logging.getLogger("scaling").removeHandler(handler)


def check_unharmed(tmp_path, config, name):
    """Train beside a tracker that fails: the losses and the record are whole.

    Returns the one line that says so.
    """
    expected, state, numpy_state = undisturbed(tmp_path)
    random.seed(1)
    np.random.seed(1)
    run = a_run(tmp_path)
    with heard() as said:
        trackers = open_trackers(config, run)
        assert train(trackers) == expected
        trackers.finish("finished", "completed", {"skill": 0.1})
    assert (random.getstate(), np.random.get_state()[1].tolist()) == (state, numpy_state)
    assert curve(record_path(run)) == list(enumerate(expected))
    assert read_lines(record_path(run))[-1]["ending"]["status"] == "finished"
    assert len(said) == 1
    assert f"python -m scaling.track sync --results {run.directory} --to {name}" in said[0]
    assert "\n" not in said[0]
    return said[0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int):
    """The address of an `mlflow server` on loopback with a sqlite store, as soon as it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # starts faster
    log = folder / "server.log"
    with log.open("ab") as stream:
        server = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        else:
            raise AssertionError(log.read_text())
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # its workers, too
        server.wait()


def read_wandb(path: Path) -> list:
    """The records of a `.wandb` file: protobuf messages in LevelDB's log format (32 KiB blocks)."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts, records = path.read_bytes(), 7, b"", []
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if position + 7 + length > len(content):
            break
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(parts))
            parts = b""
    return records


def read_finished_wandb(path: Path) -> list:
    """Wait for the last record and read them all: W&B goes on writing after `finish` returns."""
    for _ in range(300):
        records = read_wandb(path)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} holds no exit record")


def of_wandb(items) -> dict:
    """The names and values that a part of a record holds."""
    return {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items}


def client_of(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def wait_for(condition):
    """Return as soon as `condition()` is true; fail after 30 seconds."""
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("the condition was not true within 30 s")
