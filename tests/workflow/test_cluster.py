"""The miniature study through a real Slurm: one controller and two nodes on loopback."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scaling.training import checkpoint
from tests import miniature

SCRIPT = Path(__file__).parent / "slurm.sh"
SEARCH_PATH = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
ABSENT = [p for p in ("slurmctld", "slurmd", "sbatch") if not shutil.which(p, path=SEARCH_PATH)]
NOTE = "needs apt-get install slurm-wlm slurmctld slurmd slurm-client"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(bool(ABSENT), reason=f"{', '.join(ABSENT)} not found: {NOTE}"),
]
# The profile as it is shipped, polled faster than a cluster of many users would like.
SNAKEMAKE = (
    *("snakemake", "--workflow-profile", "workflow/profiles/slurm"),
    *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"),
    *("--cores", "1"),
)
REPORT = "results/daily/tiny/report.html"
RUN = "20k"
EPOCHS = 30  # so that there is a middle to be cancelled in


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Slurm of its own, for this file's tests."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "up", folder], check=True, timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        yield
    subprocess.run([SCRIPT, "down", folder], check=True, timeout=60)


def wait_for_state(study: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the run's second resume state is there: it is in mid-training."""
    while process.poll() is None:
        if len(list((study / f"results/.resume/daily/tiny/{RUN}").glob("*/step-*.state"))) > 1:
            return
        time.sleep(0.02)


def cancel_training() -> None:
    """`scancel` of the run's job, as an impatient user or a preempting scheduler does it."""
    jobs = subprocess.run(
        ["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    chosen = [job.split()[0] for job in jobs if "rule_train" in job and RUN in job]
    assert chosen, jobs
    subprocess.run(["scancel", *chosen], check=True)


@pytest.fixture(scope="module")
def finished(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study from prices to report through Slurm, one training cancelled in the middle."""
    study = miniature.make_miniature(tmp_path_factory.mktemp("study"))
    tiny = study / "configs/daily/tiny.yaml"
    text = tiny.read_text().replace("epochs: 2\n", f"epochs: {EPOCHS}\n")
    tiny.write_text(text)
    grid = "experiments: [daily/tiny]\nbudgets: [6k, 20k]\nseeds: [42]\n"
    (study / "configs/full.yaml").write_text(grid)
    log = study / "snakemake.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*SNAKEMAKE, REPORT],
            cwd=study,
            env=miniature.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        try:
            wait_for_state(study, process)
            if process.poll() is None:
                cancel_training()
            process.wait(timeout=500)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    assert process.returncode == 0, log.read_text()
    return study


def test_the_grid_reaches_its_report_through_slurm(finished: Path) -> None:
    assert (finished / REPORT).stat().st_size > 1000
    assert json.loads((finished / "results/daily/tiny/scaling_law.json").read_text())
    log = (finished / "snakemake.log").read_text()
    assert "11 of 11 steps (100%) done" in log
    # Features, stamp, baselines, two searches, three tries of two trainings; the judges are one.
    assert log.count("has been submitted with SLURM") == 9
    assert len(re.findall(r"Job \S+ has been submitted .*group_judge", log)) == 1


def test_a_job_cancelled_in_mid_training_goes_on_to_the_same_weights(finished: Path) -> None:
    # Snakemake shows the failed try's log, and starts the file again for the next.
    assert "stopped: SIGTERM" in (finished / "snakemake.log").read_text()
    assert "resumed at step" in (finished / f"logs/daily/tiny/{RUN}.train.log").read_text()
    undisturbed = finished / "undisturbed" / f"{RUN}.ckpt"
    miniature.run(
        finished,
        *("python", "-m", "scaling.train", "--config", "configs/daily/tiny.yaml"),
        *("--param-budget", RUN, "--threads", "1", "--output", str(undisturbed)),
        *("--batch-size", f"results/daily/tiny/{RUN}.batch_size.json"),
    )
    expected = checkpoint.load(undisturbed)["weights"]
    found = checkpoint.load(finished / f"results/daily/tiny/{RUN}.ckpt")["weights"]
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


SHORT_EPOCHS = 4
TOLERANCE = 1e-6  # relative, as in test_processes: fp32 sums in another order


def test_two_nodes_train_one_model_to_the_losses_of_one_process(finished: Path) -> None:
    tiny = (finished / "configs/daily/tiny.yaml").read_text()
    text = tiny.replace(f"epochs: {EPOCHS}\n", f"epochs: {SHORT_EPOCHS}\n")
    (finished / "configs/daily/short.yaml").write_text(text)
    model = finished / "configs/model/patchtst_6k.yaml"
    model.write_text(model.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    short = "results/daily/short"
    miniature.run(finished, "snakemake", "--cores", "1", f"{short}/6k.batch_size.json")
    asked = ("nodes=2", "gpu=2", "mpi=srun", "tasks=2", "tasks_per_gpu=1")
    resources = ("--set-resources", *(f"train:{value}" for value in asked))
    miniature.run(finished, *SNAKEMAKE, f"{short}/6k.ckpt", *resources, forked=False)
    found = json.loads((finished / f"{short}/6k.json").read_text())
    assert (found["processes"], found["looks"][-1]["epoch"]) == (2, SHORT_EPOCHS)
    log = (finished / "logs/daily/short/6k.train.history").read_text()
    assert log.count("training 6k of daily/short") == log.count("made ") == 1

    (finished / "alone").mkdir()
    miniature.run(
        finished,
        *("python", "-m", "scaling.train", "--config", "configs/daily/short.yaml"),
        *("--param-budget", "6k", "--threads", "1", "--output", "alone/6k.ckpt"),
        *("--batch-size", f"{short}/6k.batch_size.json"),
    )
    alone = json.loads((finished / "alone/6k.json").read_text())
    for key in ("train_loss", "val_log_loss"):
        expected = [epoch[key] for epoch in alone["looks"]]
        assert [epoch[key] for epoch in found["looks"]] == pytest.approx(expected, rel=TOLERANCE)
