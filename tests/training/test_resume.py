"""No run is lost: kills, signals, damage, heat and full disks, on real trainings."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling import train
from scaling.errors import EXIT_BAD_INPUT, EXIT_STOPPED, UserError, run_command
from scaling.machine import guard as guards
from scaling.machine import sensors
from scaling.record import read_json
from scaling.training import checkpoint, lock, trainer
from scaling.training import run as runs
from tests import preloaded
from tests.miniature import (
    EXPERIMENT,
    build_features,
    environment,
    handlers_kept,
    make_miniature,
    run,
    run_here,
)

RUN = ("--config", "configs/daily/other.yaml", "--param-budget", "6k", "--threads", "1")
CHECKPOINT = Path("results/daily/other/6k.ckpt")
RESUME = Path("results/.resume/daily/other/6k")
LOG = Path("train.log")
SHORTER = {
    "train: [1993-01-29": "train: [1995-06-02",
    "batch_size: 32": "batch_size: 16",
    "epochs: 2": "epochs: 3",
}
SAVE_OFTEN = "checkpoint_minutes: 0.002\n"  # every 120 ms, so that states lie between epochs too
STEPS = 75

# What a signal, a crash of the machine or the kernel's memory killer would do, at an exact place.
KILLED_AT = """\
import os, signal, sys
def die_in(module, function, matches):
    real = getattr(module, function)
    def dying(*arguments):
        if matches(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    setattr(module, function, dying)
calls = []
{plan}
from scaling.train import main
sys.exit(main(sys.argv[1:]))
"""
HALF_A_STATE = """\
def half_written(descriptor):
    name = os.readlink(f"/proc/self/fd/{descriptor}")
    if ".step-" in name:
        calls.append(name)
        if len(calls) == 3:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            return True
    return False
die_in(os, "fsync", half_written)
"""
BEFORE_RENAME = """\
def named(source, target):
    if str(target).endswith(".state"):
        calls.append(target)
    return len(calls) == 3
die_in(os, "replace", named)
"""
BEFORE_CHECKPOINT = 'die_in(os, "replace", lambda source, target: str(target).endswith(".ckpt"))'
BEFORE_RECORD = 'die_in(os, "replace", lambda source, target: str(target).endswith("6k.json"))'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature with features, and nothing trained: 25 steps an epoch, three epochs."""
    directory = make_miniature(tmp_path_factory.mktemp("resume"))
    text = EXPERIMENT
    for old, new in SHORTER.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (directory / "configs/daily/other.yaml").write_text(text + SAVE_OFTEN)
    build_features(directory)
    return directory


@pytest.fixture
def here(study: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The study as the working directory; its results and its config are put back."""
    config = study / "configs/daily/other.yaml"
    text = config.read_text()
    monkeypatch.chdir(study)
    with handlers_kept():
        yield study
    config.write_text(text)
    results = study / "results"
    shutil.rmtree(results) if results.is_dir() else results.unlink(missing_ok=True)
    (study / LOG).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def undisturbed(study: Path) -> dict[str, Any]:
    """The checkpoint of a run that nothing disturbed."""
    run_here(study, "train", *RUN)
    content = checkpoint.load(study / CHECKPOINT)
    shutil.rmtree(study / "results")
    return content


def train_here() -> int:
    """One more try in this process; its messages stand in `LOG`."""
    return train.main([*RUN, "--log", str(LOG)]) or 0


def assert_same_bits(found: Path, expected: dict[str, Any]) -> None:
    content = checkpoint.load(found)
    for kind in ("weights", "last_weights"):
        assert content[kind].keys() == expected[kind].keys()
        for name, value in expected[kind].items():
            assert torch.equal(content[kind][name], value), f"{kind}: {name}"
    for key in ("looks", "validation", "clipped", "first_step", "windows", "identity"):
        mine, theirs = (checkpoint.record_of(c)[key] for c in (content, expected))
        if key == "looks":
            mine, theirs = ([{**e, "seconds": 0} for e in looks] for looks in (mine, theirs))
        assert mine == theirs


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Do something in the midst of the training's `step`-th optimiser step from now."""
    real, taken = trainer.optimiser_step, []

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        taken.append(1)
        if len(taken) == step:
            act()
        return real(*arguments, **options)

    monkeypatch.setattr(trainer, "optimiser_step", watched)


class Killed(BaseException):
    """Nothing in the library catches this: the process is as good as gone."""


def killed() -> None:
    raise Killed


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Train up to the midst of one step, and no further."""
    with monkeypatch.context() as patch:
        at_step(patch, step, killed)
        with pytest.raises(Killed):
            train_here()


def newest_step() -> int:
    """The step of the newest resume state; 0 if there is none."""
    return max((int(path.stem.partition("-")[2]) for path in RESUME.glob("*/*.state")), default=0)


@pytest.mark.slow
def test_a_training_killed_again_and_again_ends_with_the_same_bits(
    here: Path, undisturbed: dict[str, Any]
) -> None:
    moments = random.Random(3)
    command = ("python", "-m", "scaling.train", *RUN, "--log", str(LOG))
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = environment(preloaded.commands())
    for kills in (True, True, False):
        before = newest_step()
        process = subprocess.Popen(command, **quiet)
        while kills and process.poll() is None:
            if newest_step() > before:
                time.sleep(moments.uniform(0, 0.1))
                process.kill()
            time.sleep(0.01)
        if process.wait() == 0:
            break
    resumed = LOG.read_text().count("resumed at step")
    assert resumed >= 1
    assert_same_bits(CHECKPOINT, undisturbed)


@pytest.mark.parametrize("step", random.Random(5).sample(range(27, STEPS), 4))
def test_whichever_step_it_was_killed_at_the_bits_are_the_same(
    here: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    stop_at(monkeypatch, step)
    assert train_here() == 0
    assert "resumed at step" in LOG.read_text()
    assert_same_bits(CHECKPOINT, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plan",
    [HALF_A_STATE, BEFORE_RENAME, BEFORE_CHECKPOINT, BEFORE_RECORD],
    ids=["half a state", "state not renamed", "checkpoint not renamed", "record not renamed"],
)
def test_a_kill_in_mid_write_loses_nothing(
    here: Path, undisturbed: dict[str, Any], plan: str
) -> None:
    program = KILLED_AT.format(plan=plan)
    assert run(here, "python", "-c", program, *RUN, check=False).returncode == -signal.SIGKILL
    torn = [p for p in Path("results").rglob(".*") if p.is_file()]
    assert torn, "the kill came too late to tear anything"
    assert train_here() == 0
    assert "resumed at step" in LOG.read_text()
    assert_same_bits(CHECKPOINT, undisturbed)
    assert read_json(CHECKPOINT.with_suffix(".json"))["looks"]
    assert not list(RESUME.rglob("*step-*"))


def test_a_flipped_byte_in_the_newest_state_is_noticed_and_the_one_before_is_used(
    here: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 60)
    older, newest = sorted(RESUME.glob("*/step-*.state"))
    damaged = bytearray(newest.read_bytes())
    weights = checkpoint.load(newest)["weights"]
    bits = max(weights.values(), key=torch.numel).numpy().tobytes()
    damaged[damaged.find(bits) + len(bits) // 2] ^= 1
    newest.write_bytes(damaged)
    assert train_here() == 0
    text = LOG.read_text()
    assert f"{newest}: damaged, its checksum does not match; the state before it is used" in text
    assert f"resumed at step {int(older.stem.split('-')[1])} of" in text
    assert_same_bits(CHECKPOINT, undisturbed)


def test_with_both_states_damaged_training_starts_over_and_says_so(
    here: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 60)
    for state in RESUME.glob("*/step-*.state"):
        state.write_bytes(b"garbage")
    assert train_here() == 0
    assert LOG.read_text().count("not a readable checkpoint") == 2
    assert "resumed" not in LOG.read_text()
    assert_same_bits(CHECKPOINT, undisturbed)


def test_damaged_states_of_later_steps_do_not_push_out_new_ones(tmp_path: Path) -> None:
    store = checkpoint.ResumeStore(tmp_path)
    for step in (400, 500):
        (tmp_path / f"step-{step:09d}.state").write_bytes(b"garbage")
    state, problems = store.load()
    assert state is None
    assert len(problems) == 2
    store.save(100, {"step": 100})
    assert store.load() == ({"step": 100}, [])


def test_only_the_last_two_states_are_kept(tmp_path: Path) -> None:
    store = checkpoint.ResumeStore(tmp_path)
    for step in (9, 10, 11):
        store.save(step, {"step": step})
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "step-000000010.state",
        "step-000000011.state",
    ]


# In the last 19 of the 75 steps the mean of the weights is a part of the state.
@pytest.mark.parametrize(("name", "step"), [("SIGTERM", 33), ("SIGINT", 60), ("SIGUSR1", 33)])
def test_a_signal_saves_the_state_and_the_closing_line_says_how_to_go_on(
    here: Path,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: int,
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: signal.raise_signal(getattr(signal, name)))
        assert train_here() == EXIT_STOPPED
    last = LOG.read_text().splitlines()[-1]
    assert last.endswith(f"stopped: {name}; the same command resumes at step {step}")
    assert not CHECKPOINT.exists()
    assert train_here() == 0
    assert f"resumed at step {step} of {STEPS}" in LOG.read_text()
    assert_same_bits(CHECKPOINT, undisturbed)


def test_a_signal_during_a_cooling_pause_does_not_wait_for_its_end(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = sensors.Source("fake", lambda: sensors.Reading("fake", celsius=90.0))
    monkeypatch.setattr(guards, "candidates", lambda device: [hot])
    pausing = "thermal: {pause_on_warning: true, max_pause_seconds: 500}\n"
    config = here / "configs/daily/other.yaml"
    config.write_text(config.read_text().replace("epochs: 3", "epochs: 1000") + pausing)
    real = guards.ThermalGuard.wait_if_hot

    def interrupted_pause(guard: guards.ThermalGuard, *arguments: Any) -> float:
        if not guard._cool.is_set():
            signal.raise_signal(signal.SIGTERM)
        return real(guard, *arguments)

    monkeypatch.setattr(guards.ThermalGuard, "wait_if_hot", interrupted_pause)
    began = time.monotonic()
    assert train_here() == EXIT_STOPPED
    assert time.monotonic() - began < 400  # the pause alone would last 500


@pytest.mark.slow
def test_an_orphan_saves_its_state_and_stops(here: Path, undisturbed: dict[str, Any]) -> None:
    config = here / "configs/daily/other.yaml"
    text = config.read_text()
    config.write_text(text.replace("epochs: 3", "epochs: 1000"))
    program = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    child = (sys.executable, "-m", "scaling.train", *RUN, "--log", str(LOG), "--stop-with-parent")
    parent = subprocess.Popen(
        (sys.executable, "-c", program, *child),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(RESUME.glob("*/step-*.state")):
        assert parent.poll() is None, "the training ended before it could be orphaned"
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    while "stopped: the process that started it has ended" not in LOG.read_text():
        time.sleep(0.01)  # an orphan that trains on runs into the test's time limit


def test_two_trainers_of_one_target_cannot_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold = (
        "import sys, time; from filelock import FileLock;"
        "lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen(
        (sys.executable, "-c", hold, str(tmp_path / "lock")), stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    with other.stdout:
        assert other.stdout.readline() == "held\n"
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.2)
    with (
        pytest.raises(UserError, match=r"6k.ckpt is being trained by another process.*pkill -TERM"),
        lock.sole_trainer(tmp_path, CHECKPOINT),
    ):
        pytest.fail("both hold the lock")
    assert len(caplog.messages) == 1 and "waiting 0.2 s" in caplog.text
    other.kill()
    other.wait()
    monkeypatch.setattr(lock, "WAIT_SECONDS", 60)
    with lock.sole_trainer(tmp_path, CHECKPOINT):
        pass  # a killed trainer's lock is free at once


def test_who_waited_for_a_trainer_that_finished_does_not_train_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = lock.sole_trainer

    def waited(directory: Path, output: Path) -> Any:
        monkeypatch.setattr(runs, "sole_trainer", real)
        assert train_here() == 0  # the other one, while this one waits for the lock
        return real(directory, output)

    monkeypatch.setattr(runs, "sole_trainer", waited)
    assert train_here() == 0
    assert caplog.text.count("training 6k of") == 1
    assert LOG.read_text().splitlines()[-1].endswith("nothing to train")


def test_a_changed_config_never_resumes_an_old_state(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 40)
    config = here / "configs/daily/other.yaml"
    config.write_text(config.read_text().replace("learning_rate: 0.001", "learning_rate: 0.002"))
    assert train_here() == 0
    assert "resumed" not in LOG.read_text()
    assert checkpoint.record_of(checkpoint.load(CHECKPOINT))["windows"] == 3 * 400


def test_a_full_disk_under_the_resume_state_is_said_and_training_goes_on(
    here: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.ResumeStore, "save", full)
    assert train_here() == 0
    assert "resume state not saved ([Errno 28] No space left on device)" in LOG.read_text()
    assert_same_bits(CHECKPOINT, undisturbed)


def fill_the_disk() -> None:
    """Take what is left of the disk under `results`."""
    with Path("results/rest").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass


def test_a_disk_that_is_full_to_the_last_byte_costs_no_training(
    here: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("results").mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "results")
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here")
    except FileNotFoundError:
        pytest.skip("no mount command here")
    try:
        filler = Path("results/filler")
        with filler.open("wb", buffering=0) as stream:
            stream.write(bytes(2**20 - 5 * 2**16))
        with monkeypatch.context() as patch:
            at_step(patch, 40, fill_the_disk)
            failed = run_here(here, "train", *RUN, "--log", "results/train.log", check=False)
        assert failed.returncode == EXIT_BAD_INPUT
        assert "resume state not saved" in failed.stderr
        closing = failed.stderr.strip().splitlines()[-1]
        assert closing.startswith("error: ") and str(CHECKPOINT) in closing
        assert not CHECKPOINT.exists()
        filler.unlink()
        Path("results/rest").unlink()
        assert train_here() == 0
        assert "resumed at step" in LOG.read_text()
        assert_same_bits(CHECKPOINT, undisturbed)
    finally:
        subprocess.run(("umount", "--lazy", "results"), check=True)


@pytest.mark.parametrize("blocked", ["results", "results/daily/other"])
def test_results_that_cannot_be_written_are_one_line_and_exit_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], blocked: str
) -> None:
    Path(blocked).parent.mkdir(parents=True, exist_ok=True)
    Path(blocked).write_text("in the way")
    with pytest.raises(SystemExit) as stopped:
        run_command(train_here)
    assert stopped.value.code == EXIT_BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and blocked in errors[0]
    assert "Traceback" not in errors[0]
    assert Path(blocked).read_text() == "in the way"
