"""Real parts that the tracking tests share: a run, an MLflow server, a reader of `.wandb` files."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from scaling.record import file_md5
from scaling.tracking.local import RunInfo


def a_run(root: Path, run: str = "2m", experiment: str = "daily/up") -> RunInfo:
    directory = root / "results" / experiment
    directory.mkdir(parents=True, exist_ok=True)
    prices = root / "SPY.parquet"
    prices.write_bytes(b"prices")
    return RunInfo(
        experiment=experiment,
        run=run,
        params={"seed": 42, "optimiser.learning_rate": 0.0003, "window.context_length": 64},
        tags={"budget": "2m", "seed": "42", "data_md5": file_md5(prices), "device": "cpu"},
        directory=directory,
        datasets=[("SPY", str(prices), file_md5(prices))],
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """An `mlflow server` on loopback with a sqlite store; returns when it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # starts faster
    with open(folder / "server.log", "ab") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    for _ in range(240):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return server
        assert server.poll() is None, (folder / "server.log").read_text()
        time.sleep(0.5)
    stop_server(server)
    raise AssertionError((folder / "server.log").read_text())


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def read_wandb(path: Path) -> list:
    """The records of a `.wandb` file: LevelDB's log format (32 KiB blocks), protobuf inside."""
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
    """The same once its last record is in: W&B's service writes on while `finish` returns."""
    for _ in range(300):
        records = read_wandb(path)
        if any(record.HasField("exit") for record in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} holds no exit record")
