import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import find_batch_size
from scaling.config import WindowConfig, load_config
from scaling.errors import UserError
from scaling.machine import device
from scaling.sizes import OptimiserConfig, PatchTSTShape
from scaling.training import probe as probes
from scaling.training.batch_size import choose, refuse_nothing_fits, search
from tests.miniature import handlers_kept

CONFIG = "configs/daily/threshold_1pct.yaml"
GIB = 2**30


def tiny(ceiling=8 * GIB, n_channels=2, device="cpu"):
    return probes.Probe(
        PatchTSTShape(d_model=16, layers=1, heads=2, ffn_dim=16, dropout=0.1),
        WindowConfig(64, 8, 63),
        OptimiserConfig(32, 1, 3e-4, 0.01, 0.1, 1.0),
        n_channels=n_channels,
        device=device,
        precision="fp32",
        seed=42,
        ceiling=ceiling,
    )


def memory_of(*fitting, speed=lambda size: 1.0):
    """A probe of a device that holds these sizes."""

    def try_size(size):
        if size not in fitting:
            return {"micro_batch": size, "status": "out of memory", "detail": "planted"}
        return {"micro_batch": size, "status": "ok", "samples_per_second": speed(size)}

    return try_size


def sizes(tried):
    return [result["micro_batch"] for result in tried]


@pytest.mark.slow
def test_find_batch_size_returns_power_of_two():
    tried = search(lambda size: probes.run_probe(tiny(), size), limit=32)
    assert [r["status"] for r in tried] == ["ok"] * 3
    assert sizes(tried) == [8, 16, 32]
    assert choose(tried, 32) in (8, 16, 32)
    assert all(r["peak_bytes"] > 0 and r["samples_per_second"] > 0 for r in tried)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a ceiling on CPU memory")
def test_find_batch_size_respects_memory():
    # One sample's activations take tens of MB with 4,000 channels, so 128 of them cannot fit.
    probe = tiny(ceiling=3 * GIB // 2, n_channels=4000)
    tried = search(lambda size: probes.run_probe(probe, size), limit=128)
    assert tried[-1]["status"] == "out of memory"
    assert [r["status"] for r in tried[:-1]] == ["ok"] * (len(tried) - 1)
    assert len(tried) > 1
    assert all(r["peak_bytes"] <= probe.ceiling for r in tried[:-1])


@pytest.mark.parametrize(
    ("fitting", "limit", "tried"),
    [
        ((8, 16), 256, [8, 16, 32]),
        ((8, 16, 32, 64), 40, [8, 16, 32]),
        ((2,), 32, [8, 4, 2]),
        ((1, 2, 4), 7, [4]),
        ((1, 2), 3, [2]),
        ((1,), 1, [1]),
    ],
)
def test_sizes_are_doubled_within_the_limit_until_one_does_not_fit_or_halved_until_one_does(
    fitting, limit, tried
):
    assert sizes(search(memory_of(*fitting), limit)) == tried


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 1e6), min_size=3, max_size=3))
def test_no_timing_changes_the_choice(speeds):
    speed = dict(zip((8, 16, 32), speeds, strict=True)).get
    assert choose(search(memory_of(8, 16, 32, speed=speed), 32), 32) == 32
    assert choose(search(memory_of(8, 16, speed=speed), 32), 32) == 16


def test_the_choice_is_never_more_than_a_processs_share_of_the_batch():
    assert choose(search(memory_of(8, 16, 32, 64), 64), share=48) == 32


@pytest.mark.parametrize(
    ("message", "memory"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("MPS backend out of memory (MPS allocated: 18.13 GB)", True),
        ("Invalid buffer size: 12.00 GiB", True),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 4 bytes", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
        ("CUDA error: 700", False),
    ],
)
def test_only_an_allocators_complaint_is_out_of_memory(message, memory):
    assert probes.is_memory_error(RuntimeError(message)) is memory


def test_an_error_that_is_not_about_memory_is_reported_as_itself():
    with pytest.raises(RuntimeError, match="(?s)micro-batch 8 failed.*nonsense"):
        probes.run_probe(tiny(device="nonsense"), 8)


def kill_itself(probe, micro_batch, connection):
    os.kill(os.getpid(), signal.SIGKILL)


def end_early(probe, micro_batch, connection):
    os._exit(3)


def hang(probe, micro_batch, connection):
    probes.leave_with_parent(connection)


def tell_and_hang(probe, micro_batch, connection):
    Path(probe.device).write_text(str(os.getpid()))
    probes.leave_with_parent(connection)


def test_a_probe_killed_by_the_kernel_is_too_big():
    assert probes.run_probe(tiny(), 8, work=kill_itself)["status"] == "out of memory"


def test_a_probe_that_just_ends_is_an_error():
    with pytest.raises(RuntimeError, match="exit code 3"):
        probes.run_probe(tiny(), 8, work=end_early)


def test_a_probe_that_hangs_is_ended_and_does_not_fit():
    assert probes.run_probe(tiny(), 8, timeout=0.5, work=hang)["status"] == "timeout"
    assert multiprocessing.active_children() == []


def pair(**changes):
    """Two processes that train together, as one GPU each would."""
    return dataclasses.replace(tiny(), processes=2, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_processes_that_train_together_take_a_step_on_the_samples_of_both(sharded):
    result = probes.run_probe(pair(sharded=sharded), 4)
    assert result["status"] == "ok" and result["peak_bytes"] > 0
    steps_a_second = result["samples_per_second"] / (2 * 4)
    assert steps_a_second == pytest.approx(1 / result["seconds_per_step"], rel=0.5)


def test_a_probe_asked_to_shard_does():
    with pytest.raises(RuntimeError, match="one process has nobody to share with"):
        probes.run_probe(dataclasses.replace(tiny(), sharded=True), 8)


def second_is_small(probe, micro_batch, connection):
    ceiling = probe.ceiling // (100 if probe.rank else 1)
    probes.in_child(dataclasses.replace(probe, ceiling=ceiling), micro_batch, connection)


def second_is_killed(probe, micro_batch, connection):
    if probe.rank:
        os.kill(os.getpid(), signal.SIGKILL)
    probes.in_child(probe, micro_batch, connection)


@pytest.mark.slow
@pytest.mark.parametrize("work", [second_is_small, second_is_killed])
def test_memory_that_one_of_two_lacks_is_too_little_and_no_error_of_the_other(work):
    assert probes.run_probe(pair(), 8, work=work)["status"] == "out of memory"
    assert multiprocessing.active_children() == []


def one_tells(probe, micro_batch, connection):
    if probe.rank:
        hang(probe, micro_batch, connection)
    connection.send({"status": "ok"})


def test_two_of_whom_one_hangs_do_not_fit():
    assert probes.run_probe(pair(), 8, timeout=0.5, work=one_tells)["status"] == "timeout"


@pytest.mark.slow
def test_a_killed_search_leaves_no_probe_behind(tmp_path):
    pid_file = tmp_path / "pid"
    script = (
        "from tests.training import test_batch_size as t\n"
        "t.probes.PRELOAD.clear()\n"
        f"t.probes.run_probe(t.tiny(device={str(pid_file)!r}), 8, work=t.tell_and_hang)\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), os.getcwd()])
    search = subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": paths}
    )
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text())
    search.kill()
    search.wait()
    assert wait_until(lambda: not psutil.pid_exists(int(pid_file.read_text())))


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_where_nothing_fits_the_memory_needed_and_allowed_are_stated():
    tried = search(memory_of(), limit=32)
    assert sizes(tried) == [8, 4, 2, 1]
    probe = tiny(ceiling=GIB // 4)
    with pytest.raises(UserError, match=r"2m: no micro-batch fits.*GiB.*allowed here: 0.25 GiB"):
        refuse_nothing_fits("2m", probe, tried)


@pytest.fixture
def probed(monkeypatch):
    """The sizes that `main` probes; each fits, and larger ones are faster."""
    asked = []

    def run_probe(probe, micro_batch, timeout):
        asked.append(micro_batch)
        return {
            "micro_batch": micro_batch,
            "status": "ok",
            "peak_bytes": 1,
            "seconds_per_step": 1.0,
            "samples_per_second": float(micro_batch),
            "sharded": probe.sharded,
        }

    monkeypatch.setattr(find_batch_size, "run_probe", run_probe)
    with handlers_kept():
        yield asked


def command(output, *more):
    find_batch_size.main(["--config", CONFIG, "--device", "cpu", "--output", str(output), *more])
    return json.loads(output.read_text())


def test_the_json_says_what_was_tried_chosen_and_where(probed, tmp_path, capsys):
    found = command(tmp_path / "2m.batch_size.json")
    assert sizes(found["tried"]) == probed == [8, 16, 32]
    assert found["micro_batch"] == found["largest"] == 32
    assert found["budget"] == "2m" and found["device"] == "cpu" and found["device_name"]
    assert found["ceiling_bytes"] < psutil.virtual_memory().total
    assert found["versions"]["torch"] and found["n_channels"] == 20
    assert "micro-batch 32" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(("free", "sharded"), [(10**12, False), (10**7, True)])
def test_two_processes_divide_the_batch_and_a_model_too_large_for_one(
    probed, tmp_path, monkeypatch, free, sharded
):
    monkeypatch.setattr("scaling.training.batch_size.free_memory", lambda name: 2 * free)
    found = command(tmp_path / "2m.batch_size.json", "--processes", "2")
    assert probed == [8, 16]
    assert (found["processes"], found["sharded"]) == (2, sharded)
    assert {tried["sharded"] for tried in found["tried"]} == {sharded}
    assert found["ceiling_bytes"] < free


def test_the_search_stops_at_the_optimisers_batch_and_max_goes_on(probed, tmp_path):
    found = command(tmp_path / "a.json", "--max", "128")
    assert probed == [8, 16, 32, 64, 128]
    assert (found["largest"], found["micro_batch"]) == (128, 32)


def test_no_size_is_larger_than_the_training_set(probed, tmp_path, monkeypatch):
    study = SimpleNamespace(samples={"train": range(300)})
    monkeypatch.setattr("scaling.data.dataset.load_study", lambda config: study)
    command(tmp_path / "a.json", "--max", "100000")
    assert max(probed) == 256


def test_a_search_that_still_holds_is_not_repeated(probed, tmp_path, capsys):
    first = command(tmp_path / "a.json")
    probed.clear()
    assert command(tmp_path / "a.json") == first
    assert probed == []
    assert "holds" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["model", "window", "features", "device", "versions"])
def test_what_changes_the_memory_needed_is_searched_again(probed, tmp_path, monkeypatch, change):
    command(tmp_path / "a.json")
    probed.clear()
    more = []
    if change == "model":
        more = ["--param-budget", "600k"]
    elif change == "window":
        config = load_config(CONFIG)
        object.__setattr__(config, "window", WindowConfig(32, 8, 63))
        monkeypatch.setattr(find_batch_size.configs, "load_config", lambda *_: config)
    elif change == "features":
        monkeypatch.setattr("scaling.data.tiers.a20.FEATURE_NAMES", ("one", "two"))
    elif change == "device":
        monkeypatch.setattr("scaling.training.batch_size.device_name", lambda device: "another")
    else:
        other = {"versions": {"torch": "another"}}
        monkeypatch.setattr("scaling.training.batch_size.provenance", lambda: other)
    command(tmp_path / "a.json", *more)
    assert probed == [8, 16, 32]


@pytest.mark.parametrize("flag", [["--max", "0"], ["--max", "-8"], ["--timeout", "0"]])
def test_impossible_flags_are_refused(flag):
    with pytest.raises(UserError, match="allowed"):
        find_batch_size.main(["--config", CONFIG, *flag])


VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


@pytest.mark.parametrize(
    ("line", "folder", "limit", "usage"),
    [
        ("0::/slurm/job\n", "slurm/job", "memory.max", "memory.current"),
        ("0::/slurm/job/step\n", "slurm/job", "memory.max", "memory.current"),
        ("4:memory:/slurm/job\n0::/\n", "memory/slurm/job", *VERSION_1),
    ],
)
def test_a_cgroups_memory_limit_counts_and_its_cache_is_free(tmp_path, line, folder, limit, usage):
    group = tmp_path / "root" / folder
    group.mkdir(parents=True)
    (group / limit).write_text("1000\n")
    (group / usage).write_text("700\n")
    (group / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    (tmp_path / "cgroup").write_text(line)
    assert min(device.cgroup_free_memory(tmp_path / "cgroup", tmp_path / "root")) == 350


def test_a_cgroup_without_a_limit_limits_nothing(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("inactive_file 50\n")
    (tmp_path / "cgroup").write_text("0::/\n")
    assert device.cgroup_free_memory(tmp_path / "cgroup", tmp_path) == [sys.maxsize]
