"""The cluster profiles repeat the default's settings, and ask for what was measured."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from tests import miniature

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


def started(study: Path, **resources: int | str) -> subprocess.CompletedProcess[str]:
    """A dry run of one training that was given `resources`."""
    asked = [f"train:{name}={value}" for name, value in resources.items()]
    return miniature.run(
        study,
        *("snakemake", "--dry-run", "--printshellcmds", "--cores", "1", "--resources", "gpu=4"),
        *("--set-resources", *asked, "--", "results/daily/tiny/6k.ckpt"),
        check=False,
    )


def test_make_clean_leaves_results_and_what_snakemake_knows_of_them() -> None:
    shown = subprocess.run(["make", "-n", "clean"], capture_output=True, text=True, check=True)
    removed = {word for line in shown.stdout.splitlines() if "rm " in line for word in line.split()}
    assert ".venv" in removed
    assert not {".snakemake", "results", "data", "configs", "logs"} & removed


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniature.make_miniature(tmp_path_factory.mktemp("study"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resources", "nodes", "per_node"),
    [({"gpu": 2}, 1, 2), ({"gpu": 4, "nodes": 2, "mpi": "srun"}, 2, 2)],
)
def test_torchrun_understands_the_training_line_and_leaves_our_options_to_us(
    study: Path, resources: dict[str, int | str], nodes: int, per_node: int
) -> None:
    lines = started(study, **resources).stdout.splitlines()
    line = next(line for line in lines if "scaling.train" in line)
    words = shlex.split(re.sub(r"\$\(\(.*?\)\)", "10001", line))  # the shell's arithmetic
    found = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
    assert (int(found.nnodes.split(":")[0]), int(found.nproc_per_node)) == (nodes, per_node)
    assert found.module and found.training_script == "scaling.train"
    assert found.training_script_args[0] == "--config" and "--log" in found.training_script_args
    assert found.standalone is (nodes == 1)
    if nodes > 1:  # one torchrun on each
        srun = words[words.index("srun") : words.index("torchrun")]
        assert {"--nodes", "--ntasks", str(nodes), "--ntasks-per-node", "1"} <= set(srun)


@pytest.mark.slow
@pytest.mark.parametrize(
    "resources",
    [{"gpu": 3, "nodes": 2, "mpi": "srun"}, {"gpu": 2, "nodes": 2}, {"nodes": 2, "mpi": "srun"}],
)
def test_nodes_that_cannot_train_together_are_refused_before_anything_runs(
    study: Path, resources: dict[str, int | str]
) -> None:
    done = started(study, **resources)
    assert done.returncode != 0
    assert "gpu a multiple of nodes (it counts the GPUs of all nodes), and mpi: srun" in done.stdout
