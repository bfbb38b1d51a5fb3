"""Fixtures of the tracking tests, which never reach the developer's own trackers."""

import os
import shutil

import pytest

from scaling.track import main
from scaling.tracking.mlflow import local_uri
from tests.tracking.tracking_parts import client_of


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def no_problem(caplog):
    """The test fails if the library has said anything."""
    yield
    assert not [r for r in caplog.get_records("call") if r.name.startswith("scaling")]


@pytest.fixture(scope="session")
def empty_store(make_once):
    return make_once("store", lambda root: main(["init", "--results", str(root)])) / "mlflow.db"


@pytest.fixture
def store(tmp_path, empty_store):
    """A local store as `track init` leaves it: its tables are made, and nothing is in them."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")
    return client_of(local_uri(tmp_path / "results"))
