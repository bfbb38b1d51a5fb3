"""A training on two processes gives the losses of one, and two trainings never share a GPU."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.utils.distributed import get_free_port

from scaling.config import load_config
from scaling.data.dataset import load_study
from scaling.errors import UserError
from scaling.machine import processes
from scaling.machine.device import tune
from scaling.machine.processes import ALONE, Group, claimed_device, joined, shared_if_large
from scaling.record import read_json, write_json
from scaling.sizes import load_model_config
from scaling.training import checkpoint, step, trainer
from scaling.training.model import build_model
from scaling.training.transfer import make_optimiser, transfers
from tests import miniature, preloaded
from tests.miniature import REPOSITORY, TOGETHER
from tests.training.test_training import OPTIMISER, Quiet, fit

pytestmark = pytest.mark.slow
EPOCHS = 6  # long enough to be stopped in the middle
# Relative difference of losses after up to 150 steps. Two processes add fp32 numbers in another
# order; the difference that was measured is 4e-8.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature whose features are built and whose training has no dropout."""
    folder = miniature.make_miniature(tmp_path_factory.mktemp("study"))
    for path in (folder / "configs/model").iterdir():
        path.write_text(path.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    tiny = folder / "configs/daily/tiny.yaml"
    text = tiny.read_text().replace("epochs: 2\n", f"epochs: {EPOCHS}\n")
    tiny.write_text(text)
    miniature.build_features(folder)
    return folder


def options(study: Path, name: str) -> list[str]:
    return [
        *("--config", "configs/daily/tiny.yaml", "--param-budget", "6k"),
        *("--threads", "1", "--output", str(study / name / "6k.ckpt")),
    ]


def command(study: Path, name: str, *more: str) -> list[str]:
    """The training on two processes."""
    return [*TOGETHER, "scaling.train", *options(study, name), *more]


def losses(study: Path, name: str) -> list[float]:
    looks = read_json(study / name / "6k.json")["looks"]
    return [look[key] for look in looks for key in ("train_loss", "val_log_loss")]


@pytest.fixture(scope="module")
def two(study: Path) -> str:
    """What an undisturbed training on two processes prints."""
    return miniature.run(study, *command(study, "two")).stderr


@pytest.fixture(scope="module")
def sharded(study: Path) -> str:
    """What it prints if the processes share weights and optimiser state."""
    return miniature.run(study, *command(study, "sharded", "--shard")).stderr


@pytest.fixture(scope="module")
def one(study: Path) -> str:
    """What an undisturbed training on one process prints."""
    return miniature.run_here(study, "train", *options(study, "one")).stderr


@pytest.mark.parametrize("name", ["two", "sharded"])
def test_two_processes_give_the_losses_and_the_weights_of_one(
    study: Path, one: str, name: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(name)
    assert losses(study, name) == pytest.approx(losses(study, "one"), rel=TOLERANCE)
    alone = checkpoint.load(study / "one/6k.ckpt")["last_weights"]
    both = checkpoint.load(study / name / "6k.ckpt")["last_weights"]
    assert list(alone) == list(both)
    assert all(torch.allclose(alone[n], both[n], rtol=0, atol=1e-4) for n in alone)


@pytest.mark.parametrize("name", ["two", "sharded"])
def test_of_two_processes_one_speaks_and_the_record_counts_both(
    study: Path, one: str, name: str, request: pytest.FixtureRequest
) -> None:
    printed = request.getfixturevalue(name)
    assert printed.count("made ") == 1
    assert printed.count("training 6k of") == 1
    record = read_json(study / name / "6k.json")
    assert (record["processes"], record["sharded"]) == (2, name == "sharded")
    assert record["identity"] == read_json(study / "one/6k.json")["identity"]


def test_one_process_has_nobody_to_shard_with() -> None:
    with (
        pytest.raises(UserError, match="torchrun --nproc-per-node 2"),
        joined(torch.device("cpu"), sharded=True),
    ):
        pass


def test_a_model_too_large_for_half_a_device_is_shared_unasked(
    study: Path, two: str, tmp_path: Path
) -> None:
    small = shutil.copytree(study, tmp_path / "small", ignore=shutil.ignore_patterns("results"))
    with (small / "scaling/machine/device.py").open("a") as stream:
        stream.write("\n\ndef free_memory(device):\n    return 200_000\n")
    tiny = small / "configs/daily/tiny.yaml"
    tiny.write_text(tiny.read_text().replace(f"epochs: {EPOCHS}\n", "epochs: 1\n"))
    printed = miniature.run(small, *command(small, "shared")).stderr
    assert printed.count("the 2 processes share them (FSDP2)") == 1 and "FSDP2" not in two
    assert read_json(small / "shared/6k.json")["sharded"] is True


def test_a_training_stopped_on_two_processes_goes_on_and_ends_as_an_undisturbed_one(
    study: Path, two: str
) -> None:
    resume = study / "results/.resume/daily/tiny/6k"
    process = subprocess.Popen(
        command(study, "stopped"),
        cwd=study,
        env=miniature.environment(preloaded.commands()),
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
    again = miniature.run(study, *command(study, "stopped"))
    assert "resumed at step" in again.stderr
    expected = checkpoint.load(study / "two/6k.ckpt")["last_weights"]
    found = checkpoint.load(study / "stopped/6k.ckpt")["last_weights"]
    assert all(torch.equal(expected[name], found[name]) for name in expected)


CLIP = 1e-3  # far below the gradient's norm
STOP_STEP = 12


def five_days(group: Group) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """One clipped step on five days with micro-batches of two.

    Of two processes one has two days and the other three, so that one has fewer micro-batches.
    """
    config = load_config("configs/daily/tiny.yaml")
    study = load_study(config)
    torch.manual_seed(42)
    shape = load_model_config("6k")
    model = build_model(shape, config.window, len(study.feature_names))
    stepped = group.wrap(model.train(), torch.device("cpu"))
    optimiser = make_optimiser(model, shape, OPTIMISER)
    days = torch.from_numpy(study.samples["train"][:5])
    options: dict[str, Any] = {"precision": "fp32", "gradient_clip": CLIP, "group": group}
    options |= {"micro_batch": 2, "seed": 42, "step": 0}
    step.optimiser_step(stepped, optimiser, study.dataset, days, **options)
    return model, optimiser


def gradients(model: torch.nn.Module, group: Group) -> dict[str, torch.Tensor]:
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    whole: dict[str, torch.Tensor] = group.gathered(own)
    return whole


class HotThenCritical(Quiet):
    """A guard that pauses at one step and stops at a later one."""

    asked = 0

    def wait_if_hot(self, interrupted: Any) -> float:
        self.asked += 1
        if self.asked == STOP_STEP:
            self.stop_reason = "critical"
        return 0.1 if self.asked == 5 else 0.0


def agreements(group: Group, out: Path) -> None:
    """Write what this process believes after each process found something different."""

    def refuse() -> int:
        raise UserError("found by the first")

    said: list[str] = []
    found: dict[str, Any] = {"first": group.from_first(lambda: group.rank)}
    for name, differs in (("micro_batch", group.rank), ("device", "cpu")):
        with suppress_user_error(found, name):
            group.refuse_other_than_first({name: differs, "precision": "fp32"})
    with suppress_user_error(found, "error"):
        group.from_first(refuse)
    whole, cpu = replace(group, sharded=False), torch.device("cpu")
    with pytest.MonkeyPatch.context() as patch:
        # The second process sees no free memory at all, but the first one decides.
        found_free = "scaling.machine.processes.free_memory"
        patch.setattr(processes.LOG, "info", said.append)
        patch.setattr(found_free, lambda device: 0 if group.rank else 32_000)
        for parameters in (1000, 1001):
            found[str(parameters)] = shared_if_large(whole, cpu, parameters).sharded
        patch.setenv("LOCAL_WORLD_SIZE", "2")
        found["half"] = shared_if_large(whole, cpu, 501).sharded
    write_json(out / f"{group.rank}.json", found | {"said": said})


@contextmanager
def suppress_user_error(found: dict[str, Any], name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        found[name] = str(error)


def shard(rank: int, port: int, study: Path, out: Path) -> None:
    """Run one of two processes. Only the second is hot, and only the first wants to save."""
    os.chdir(study)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    tune(torch.device("cpu"))  # as a training does; the other kernels round in another way
    loaded = load_study(load_config("configs/daily/tiny.yaml"))
    guard, minutes = (HotThenCritical(), 10.0) if rank else (Quiet(), 0.0)
    with joined(torch.device("cpu"), sharded=True) as group:
        agreements(group, out)
        model, optimiser = five_days(group)
        moments = [kept["exp_avg"].to_local().numel() for kept in optimiser.state.values()]
        found = {"gradients": gradients(model, group), "kept": sum(moments)}
        found["whole"] = fit(loaded, out / f"whole-{rank}", group=group).last_weights
        stopped = out / f"states-{rank}"
        with pytest.raises(trainer.Stopped):
            fit(loaded, stopped, group=group, guard=guard, checkpoint_minutes=minutes)
        group.wait()
        state, _ = checkpoint.ResumeStore(out / "states-0").load()
        found["resumed"] = fit(loaded, out / f"again-{rank}", group=group, state=state).last_weights
        torch.save(found, out / f"{rank}.pt")


SHARD = """
from pathlib import Path
from tests.machine.test_processes import shard
shard({rank}, {port}, Path({study!r}), Path({out!r}))
"""


@pytest.fixture(scope="module")
def pair(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes that shared a model left their results."""
    out = tmp_path_factory.mktemp("pair")
    port = get_free_port()  # type: ignore[no-untyped-call]
    processes = [
        subprocess.Popen(
            ("python", "-c", SHARD.format(rank=rank, port=port, study=str(study), out=str(out))),
            cwd=REPOSITORY,
            env=miniature.environment(preloaded.commands()),
        )
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return out


def test_what_the_first_process_finds_holds_in_both(pair: Path) -> None:
    first, second = (read_json(pair / f"{rank}.json") for rank in range(2))
    assert first["first"] == second["first"] == 0
    assert first["error"] == second["error"] == "found by the first"


def test_a_process_that_would_compute_something_else_is_refused_by_both(pair: Path) -> None:
    first, second = (read_json(pair / f"{rank}.json") for rank in range(2))
    assert "differs from the first in micro_batch;" in second["micro_batch"]
    assert "another process" in first["micro_batch"]
    assert "device" not in first and "device" not in second


def test_both_share_a_model_whose_state_is_above_half_of_the_firsts_memory(pair: Path) -> None:
    first, second = (read_json(pair / f"{rank}.json") for rank in range(2))
    for name, sharded in (("1000", False), ("1001", True), ("half", True)):
        assert first[name] is second[name] is sharded
    assert len(first["said"]) == 2


def test_sharded_gradients_are_clipped_as_whole_ones(
    study: Path, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    model, _ = five_days(ALONE)
    expected = gradients(model, ALONE)
    found = torch.load(pair / "0.pt")["gradients"]
    rules = transfers(model, load_model_config("6k"))
    counted = [value.flatten() * rules[name].rate ** 0.5 for name, value in found.items()]
    assert torch.cat(counted).norm().item() == pytest.approx(CLIP, rel=1e-4)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(expected[n], found[n], rtol=1e-4, atol=1e-9) for n in expected)


def test_each_process_keeps_about_half_of_the_optimiser_state(pair: Path) -> None:
    first, second = (torch.load(pair / f"{rank}.pt")["kept"] for rank in range(2))
    parameters = sum(value.numel() for value in torch.load(pair / "0.pt")["gradients"].values())
    assert first + second == parameters
    assert 0.45 < first / parameters < 0.55


def test_processes_whose_clocks_and_pauses_differ_save_and_stop_at_one_step(pair: Path) -> None:
    assert sorted(path.name for path in (pair / "states-0").iterdir()) == [
        f"step-{step:09d}.state" for step in (STOP_STEP - 1, STOP_STEP)
    ]
    assert not (pair / "states-1").exists()


def test_a_sharded_training_that_resumes_ends_with_the_same_bits(pair: Path) -> None:
    found = torch.load(pair / "0.pt")
    assert all(torch.equal(found["whole"][n], found["resumed"][n]) for n in found["whole"])


def test_one_process_goes_on_from_a_sharded_state(
    study: Path, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    tune(torch.device("cpu"))
    loaded = load_study(load_config("configs/daily/tiny.yaml"))
    undisturbed = fit(loaded, tmp_path / "whole").last_weights
    state, problems = checkpoint.ResumeStore(pair / "states-0").load()
    assert problems == [] and state is not None
    assert state["progress"]["step"] == STOP_STEP
    resumed = fit(loaded, tmp_path / "resumed", state=state).last_weights
    assert all(torch.allclose(undisturbed[n], resumed[n], rtol=0, atol=1e-5) for n in undisturbed)


@pytest.mark.parametrize(("days", "micro_batch"), [(33, 8), (33, 3), (6, 1), (2, 4)])
def test_the_pieces_of_a_batch_are_disjoint_complete_and_as_many_in_each_process(
    days: int, micro_batch: int
) -> None:
    batch = torch.arange(100, 100 + days)
    shares = [Group(rank=rank, size=4).pieces(batch, micro_batch) for rank in range(4)]
    counted = [piece.days for pieces in shares for piece in pieces if piece.weight]
    assert torch.cat(counted).sort().values.equal(batch)
    assert {piece.weight for pieces in shares for piece in pieces} <= {0, 4}
    assert len({len(pieces) for pieces in shares}) == 1
    assert all(1 <= len(piece.days) <= micro_batch for pieces in shares for piece in pieces)
    assert all(piece.days[0] == batch[piece.first] for pieces in shares for piece in pieces)


def test_trainings_at_once_claim_a_gpu_each_and_a_third_waits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    device = torch.device("cuda")
    first = claimed_device(device, 2, tmp_path)

    def info(message: str) -> None:
        said.append(message)
        first.__exit__(None, None, None)

    monkeypatch.setattr(processes.LOG, "info", info)
    assert first.__enter__().index == 0
    with claimed_device(device, 2, tmp_path) as second:
        assert second.index == 1
        with claimed_device(device, 2, tmp_path) as third:
            assert third.index == 0
    assert len(said) == 1 and "all 2 GPUs are taken" in said[0]


def test_one_visible_gpu_and_a_cpu_are_not_claimed(tmp_path: Path) -> None:
    for device, count in (("cuda", 1), ("cpu", 0)):
        with claimed_device(torch.device(device), count, tmp_path) as claimed:
            assert claimed.type == device
    assert not os.listdir(tmp_path)
