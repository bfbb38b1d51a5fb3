"""One training on two processes gives one process's losses; each GPU has one training."""

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scaling import checkpoint
from scaling.distributed import ALONE, Group, claimed_device
from scaling.record import read_json
from tests import miniature

EPOCHS = 10  # so that there is a middle to be stopped in
# Relative, on losses after up to 250 steps: fp32 sums in another order; 4e-8 was measured.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature whose training has no dropout, its features built."""
    folder = miniature.make_miniature(tmp_path_factory.mktemp("study"))
    for path in (folder / "configs/model").iterdir():
        path.write_text(path.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    tiny = folder / "configs/daily/tiny.yaml"
    text = tiny.read_text().replace("epochs: 2\n", f"epochs: {EPOCHS}\n")
    tiny.write_text(text.replace("patience: 2", f"patience: {EPOCHS}"))
    miniature.run(
        folder,
        *("python", "-m", "scaling.prepare", "--prices", "data/raw/SPY.parquet"),
        *("--manifest", "data/manifest.json"),
        *("--output", "data/processed/v1/SPY_features_a20.parquet"),
    )
    return folder


def command(study: Path, name: str, processes: int) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [
        *launcher,
        *("-m", "scaling.train", "--config", "configs/daily/tiny.yaml", "--param-budget", "6k"),
        *("--threads", "1", "--output", str(study / name / "6k.ckpt")),
    ]


def losses(study: Path, name: str) -> list[float]:
    epochs = read_json(study / name / "6k.json")["epochs"]
    return [epoch[key] for epoch in epochs for key in ("train_loss", "val_log_loss")]


@pytest.fixture(scope="module")
def two(study: Path) -> str:
    """What a training on two processes prints that nothing disturbs."""
    return miniature.run(study, *command(study, "two", 2)).stderr


def test_two_processes_give_the_losses_and_the_weights_of_one(study: Path, two: str) -> None:
    miniature.run(study, *command(study, "one", 1))
    assert losses(study, "two") == pytest.approx(losses(study, "one"), rel=TOLERANCE)
    one = checkpoint.load(study / "one/6k.ckpt")["last_weights"]
    both = checkpoint.load(study / "two/6k.ckpt")["last_weights"]
    assert one.keys() == both.keys()
    assert all(torch.allclose(one[n], both[n], rtol=0, atol=1e-4) for n in one)


PAUSES_ONE = """
_calls = []
def _pauses_rank_0_once(self, interrupted=lambda: False):
    import os
    _calls.append(1)
    return 1.0 if os.environ.get("RANK") == "0" and len(_calls) == 3 else 0.0
ThermalGuard.wait_if_hot = _pauses_rank_0_once
"""


def test_a_process_that_pauses_to_cool_does_not_lose_the_others(
    study: Path, two: str, tmp_path: Path
) -> None:
    hot = Path(shutil.copytree(study, tmp_path / "hot"))
    with (hot / "scaling/thermal.py").open("a") as stream:
        stream.write(PAUSES_ONE)
    printed = miniature.run(hot, *command(hot, "paused", 2)).stderr
    assert "paused 1 s to cool down" in printed
    assert losses(hot, "paused") == losses(study, "two")


def test_of_two_processes_one_speaks_and_the_record_counts_both(study: Path, two: str) -> None:
    assert two.count("made ") == 1
    assert two.count("training 6k of") == 1
    assert read_json(study / "two/6k.json")["processes"] == 2


def test_a_training_stopped_on_two_processes_goes_on_and_ends_as_an_undisturbed_one(
    study: Path, two: str
) -> None:
    resume = study / "results/.resume/daily/tiny/6k"
    process = subprocess.Popen(
        command(study, "stopped", 2),
        cwd=study,
        env=miniature.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while process.poll() is None and not list(resume.glob("*/step-*.state")):
        time.sleep(0.01)
    process.terminate()
    printed = process.communicate(timeout=120)[0]
    assert re.search(r"stopped: .*resumes at step", printed), printed
    assert not (study / "stopped/6k.ckpt").exists()
    again = miniature.run(study, *command(study, "stopped", 2))
    assert "resumed at step" in again.stderr
    expected = checkpoint.load(study / "two/6k.ckpt")["weights"]
    found = checkpoint.load(study / "stopped/6k.ckpt")["weights"]
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_shares_of_a_batch_are_disjoint_and_complete() -> None:
    days = torch.arange(33)
    shares = [Group(rank=rank, size=4).share(days) for rank in range(4)]
    assert torch.cat([share for share, _ in shares]).sort().values.equal(days)
    assert {weight for _, weight in shares} == {4}
    share, weight = ALONE.share(days)
    assert share.equal(days) and weight == 1


def test_a_process_without_a_day_of_the_batch_counts_for_nothing() -> None:
    weights = [Group(rank=rank, size=4).share(torch.tensor([7, 9]))[1] for rank in range(4)]
    assert weights == [4, 4, 0, 0]


def take_gpu(folder: Path, barrier: object, queue: object) -> None:
    """Claim one of two GPUs that are not there, and hold it until all have one."""
    with claimed_device(torch.device("cuda"), 2, print, folder) as device:
        queue.put(device.index)  # type: ignore[attr-defined]
        barrier.wait(timeout=60)  # type: ignore[attr-defined]


def test_trainings_at_once_claim_a_gpu_each_and_leave_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(2):  # the second round finds both free again
        barrier, queue = context.Barrier(2), context.Queue()
        arguments = (tmp_path, barrier, queue)
        processes = [context.Process(target=take_gpu, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        assert sorted(queue.get(timeout=60) for _ in processes) == [0, 1]
        for process in processes:
            process.join()


def test_a_third_training_waits_for_a_gpu_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    device = torch.device("cuda")
    first = claimed_device(device, 2, said.append, tmp_path)
    first.__enter__()
    with claimed_device(device, 2, said.append, tmp_path) as second:
        assert second.index == 1

        def say(message: str) -> None:
            said.append(message)
            first.__exit__(None, None, None)

        with claimed_device(device, 2, say, tmp_path) as third:
            assert third.index == 0
    assert len(said) == 1 and "all 2 GPUs are taken" in said[0]


def test_one_visible_gpu_and_a_cpu_are_not_claimed(tmp_path: Path) -> None:
    for device, count in (("cuda", 1), ("cpu", 0)):
        with claimed_device(torch.device(device), count, print, tmp_path) as claimed:
            assert claimed.type == device
    assert not os.listdir(tmp_path)
