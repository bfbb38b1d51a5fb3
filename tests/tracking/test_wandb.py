"""A W&B server that does not answer, or knows nobody, harms nothing."""

import os
import socket
import subprocess
import sys

import pytest

from tests.tracking.tracking_parts import WANDB, check_unharmed


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
