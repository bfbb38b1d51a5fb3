"""The cluster profiles repeat the default's settings, and ask for what was measured."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

PROFILES = Path("workflow/profiles")
SHARED = ("rerun-incomplete", "show-failed-logs", "keep-going", "max-checksum-file-size")


def profile(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
    return content


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_cluster_profile_repeats_what_it_replaces(name: str) -> None:
    default, cluster = profile("default"), profile(name)
    assert {key: cluster.get(key) for key in SHARED} == {key: default[key] for key in SHARED}


def test_the_slurm_profile_never_asks_accounting_for_a_jobs_state() -> None:
    assert profile("slurm")["slurm-status-command"] == "squeue"


def test_search_and_training_run_on_the_same_kind_of_node() -> None:
    asked = profile("slurm")["set-resources"]
    assert asked["find_batch_size"]["gpu"] == asked["train"]["gpu"] == 1


def test_a_training_asks_for_what_the_search_measured_and_for_more_at_each_try(
    tmp_path: Path,
) -> None:
    found = tmp_path / "2m.batch_size.json"
    tried = [
        {"micro_batch": 8, "peak_bytes": 10**9, "status": "ok"},
        {"micro_batch": 16, "peak_bytes": 3 * 10**9, "status": "ok"},
        {"micro_batch": 32, "peak_bytes": None, "status": "out of memory"},
    ]
    found.write_text(json.dumps({"micro_batch": 16, "tried": tried}))
    asked = profile("slurm")["set-resources"]["train"]

    def megabytes(attempt: int) -> int:
        names = {"input": SimpleNamespace(batch_size=str(found)), "attempt": attempt}
        return int(eval(asked["mem_mb"], names))

    assert [megabytes(attempt) for attempt in (1, 2)] == [4000 + 6000, 8000 + 6000]
    minutes = [eval(asked["runtime"], {"attempt": attempt}) for attempt in (1, 2, 3)]
    assert minutes == [240, 960, 3840]
