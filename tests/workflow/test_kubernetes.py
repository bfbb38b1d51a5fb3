"""The Kubernetes profile: the real grid planned, a small study run, against a real S3 server.

Of Kubernetes itself there is only a stand-in that runs each pod's command on this machine.
"""

import base64
import importlib.util
import json
import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling.config import load_config
from scaling.grid import load_grid
from scaling.names import experiment_path
from scaling.reading import read_yaml
from tests import preloaded
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
        env=environment() | KEYS,  # Kubernetes' client reads KUBECONFIG when it is imported
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
    grid = load_grid(read_yaml("configs/full.yaml"))
    trainings = len(grid.runs_of(load_config(experiment_path(grid.experiments[0]))))
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


class Cluster(ThreadingHTTPServer):
    """As much of a Kubernetes API as the executor talks to; a pod is a process in a new folder.

    It stands in for what cannot be brought up here, and refuses, as Kubernetes does, a GPU that is
    requested without an equal limit.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Api)
        self.folder = folder
        self.secrets: dict[str, dict[str, str]] = {}
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}
        self.containers: list[dict[str, Any]] = []

    def start(self, name: str, container: dict[str, Any]) -> None:
        """Run one pod: its volumes linked, the secret in its environment, the command as it is."""
        pod = self.folder / name
        pod.mkdir()
        for mount in container["volumeMounts"]:
            if mount["mountPath"] != "/workdir":
                link = pod / Path(mount["mountPath"]).relative_to("/workdir")
                link.parent.mkdir(parents=True)
                link.symlink_to(self.folder / mount["name"])
        keys = [(e["name"], e["valueFrom"]["secretKeyRef"]) for e in container["env"]]
        secret = {n: base64.b64decode(self.secrets[r["name"]][r["key"]]).decode() for n, r in keys}
        # A pod installs the storage plugin by pip; here it is there already.
        with (self.folder / f"{name}.log").open("wb") as log:
            self.jobs[name] = subprocess.Popen(
                container["command"] + container["args"],
                cwd=pod,
                env=environment(self.folder / "bin", preloaded.commands()) | secret,
                stdout=log,
                stderr=log,
            )


class Api(BaseHTTPRequestHandler):
    """Secrets and jobs created, jobs asked after and deleted."""

    server: Cluster

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, content: dict[str, Any], code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_POST(self) -> None:
        made = self.body()
        name = made["metadata"]["name"]
        if self.path.endswith("/secrets"):
            self.server.secrets[name] = made["data"]
        else:
            (container,) = made["spec"]["template"]["spec"]["containers"]
            asked, limits = (container["resources"].get(k, {}) for k in ("requests", "limits"))
            if any("gpu" in k and limits.get(k) != number for k, number in asked.items()):
                return self.answer({"message": "limit must be set for a GPU"}, 422)
            self.server.containers.append(container)
            self.server.start(name, container)
        self.answer(made, 201)

    def do_GET(self) -> None:
        if "/pods" in self.path:
            return self.answer({"kind": "PodList", "items": []})
        name = self.path.split("/")[-2]
        ended = {None: {}, 0: {"succeeded": 1}}.get(self.server.jobs[name].poll(), {"failed": 1})
        self.answer({"kind": "Job", "metadata": {"name": name}, "status": ended})

    def do_DELETE(self) -> None:
        self.body()
        self.answer({"kind": "Status", "status": "Success"})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Such a cluster, with a volume for resume states, and where `kubectl` would look for it."""
    folder = tmp_path / "cluster"
    for name in ("resume", "bin"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/pip").symlink_to(shutil.which("true") or "/bin/true")
    server = Cluster(folder)
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    address = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
    user: dict[str, Any] = {"name": "me", "user": {}}
    kubeconfig = {"current-context": "here", "contexts": [context], "clusters": [address]}
    (folder / "config").write_text(yaml.safe_dump(kubeconfig | {"users": [user]}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    for process in server.jobs.values():
        process.kill()
        process.wait()


def test_a_study_runs_through_the_executor_and_the_bucket(
    bucket: Any, endpoint: str, cluster: Cluster, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    study.mkdir()
    make_miniature(study)
    for name in COMMITTED:
        bucket.upload_file(study / name, f"scaling/{name}")
    profile = (study / PROFILE).read_text()
    filled = profile.replace("CHANGE-ME/market-scaling", PREFIX.removeprefix("s3://"))
    (study / PROFILE).write_text(filled.replace("CHANGE-ME-resume", "resume"))
    run(study, "git", "init", "--quiet")
    run(study, "git", "add", "--all")  # what git has is what a pod gets of the code

    target = "results/daily/tiny/6k.eval.json"
    quick = ("--retries", "0", "--seconds-between-status-checks", "1", "--jobs", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(cluster.folder / "config"))
        done = snakemake(endpoint, *quick, "--", target, directory=study)
        logs = "".join(path.read_text() for path in cluster.folder.glob("*.log"))
        assert done.returncode == 0, done.stdout + done.stderr + logs
        again = snakemake(endpoint, *quick, "--", target, directory=study)
    assert "Nothing to be done" in again.stdout + again.stderr

    stored = {item.key.removeprefix("scaling/") for item in bucket.objects.all()}
    assert {target, target.replace("eval.json", "ckpt")} <= stored
    assert not (study / target).exists()
    assert (cluster.folder / "resume/daily/tiny/6k").is_dir()
    gpus = [c["resources"]["limits"].get("nvidia.com/gpu") for c in cluster.containers]
    assert gpus == [None, None, "1", "1", "0"]  # features, manifest, search, training, evaluation
    assert {c["image"] for c in cluster.containers} == {"study/scaling:latest"}
