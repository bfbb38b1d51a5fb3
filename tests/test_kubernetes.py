"""The Kubernetes profile against a real S3 server: the real grid planned, a small study run.

The jobs run on this machine instead of in pods; files, links and keys are those of a pod.
"""

import importlib.util
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling import config as configs
from tests.miniature import REPOSITORY, environment, make_miniature, run

NEEDED = ("snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_s3", "moto")
ABSENT = [module for module in NEEDED if importlib.util.find_spec(module) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ABSENT), reason=f"{', '.join(ABSENT)} not found: pip install '.[dev]'"),
]
COMMITTED = ("data/raw/SPY.parquet", "data/manifest.json")
PREFIX = "s3://study/scaling"
PROFILE = Path("workflow/profiles/kubernetes/config.yaml")
# The server takes all keys; Snakemake hands these two variables on to every pod.
KEYS = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "any", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "any"}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of an S3 server of its own."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or a failure drowns in requests
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Any]:
    """An empty bucket on that server."""
    import boto3

    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    s3 = boto3.resource("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    made = s3.create_bucket(Bucket="study")
    yield made
    made.objects.delete()  # the next server in this process would have them still
    made.delete()


def snakemake(
    endpoint: str, *options: str, directory: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """Snakemake with the profile as it is shipped, its bucket and server filled in."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--workflow-profile", PROFILE.parent),
            *("--default-storage-prefix", PREFIX, "--storage-s3-endpoint-url", endpoint),
            *options,
        ],
        cwd=directory,
        env=environment() | KEYS,
        capture_output=True,
        text=True,
    )


def jobs(shown: str) -> dict[str, int]:
    """How many jobs of each rule the plan has."""
    stats = shown[shown.index("Job stats:") :]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", stats, re.M)}


def test_the_whole_grid_is_planned_from_and_into_the_bucket(bucket: Any, endpoint: str) -> None:
    for name in COMMITTED:
        bucket.upload_file(name, f"scaling/{name}")
    done = snakemake(endpoint, "--dry-run")
    assert done.returncode == 0, done.stderr
    grid = configs.load_grid(configs.read_yaml("configs/grid.yaml"))
    trainings = len(grid.budgets) * len(grid.seeds)
    found = jobs(done.stdout)
    assert (found["find_batch_size"], found["train"]) == (len(grid.budgets), trainings)
    assert f"output: {PREFIX}/results/daily/threshold_1pct/2m.ckpt (send to storage)" in done.stdout
    assert f"input: {PREFIX}/data/raw/SPY.parquet (retrieve from storage)" in done.stdout
    # What the executor refuses at submission, which a dry run does not reach.
    asked = re.findall(r"resources: (.*gpu=.*)$", done.stdout, re.M)
    assert len(asked) == len(grid.budgets) + 2 * trainings
    assert all("gpu_manufacturer=nvidia" in line and "scale=0" in line for line in asked)


def test_prices_on_this_disk_alone_are_missed(bucket: Any, endpoint: str) -> None:
    assert Path(COMMITTED[0]).is_file()
    done = snakemake(endpoint, "--dry-run")
    assert done.returncode != 0
    missed = done.stdout.partition("MissingInputException")[2]
    assert f"{PREFIX}/{COMMITTED[0]}" in missed


def test_a_study_runs_through_the_bucket(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    study = make_miniature(tmp_path)
    for name in COMMITTED:
        bucket.upload_file(study / name, f"scaling/{name}")
    # What a pod does before its job.
    precommand = yaml.safe_load((study / PROFILE).read_text())["precommand"]
    mirrored = precommand.replace("s3/CHANGE-ME/market-scaling/", "s3/study/scaling/")
    assert mirrored != precommand
    run(study, "sh", "-c", mirrored)
    target = "results/daily/tiny/6k.eval.json"
    options = ("--executor", "local", "--set-resources", "train:gpu=0", "find_batch_size:gpu=0")
    done = snakemake(endpoint, *options, "--", target, directory=study)
    assert done.returncode == 0, done.stdout + done.stderr
    stored = {item.key.removeprefix("scaling/") for item in bucket.objects.all()}
    assert {target, target.replace("eval.json", "ckpt")} <= stored
    assert not (study / target).exists()
    again = snakemake(endpoint, *options, "--", target, directory=study)
    assert "Nothing to be done" in again.stdout + again.stderr
