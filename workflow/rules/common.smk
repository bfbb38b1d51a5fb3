"""What several rules need: identities for `params`, the runs of a grid, the use of the machine."""

import shutil

from snakemake.exceptions import WorkflowError

# Read once here, because a thousand trainings would read them a thousand times.
VERSIONS = versions_of(COMPUTING_PACKAGES)


def configured(path_of):
    """A path from the experiment's config, for `input`: `configured(lambda data: data.prices)`."""
    return lambda wildcards: str(path_of(EXPERIMENTS[wildcards.experiment].data))


def checked_data(wildcards):
    """What every rule after the check of the data has for input, with `unpack`.

    The record of the features is `ancient`: features that are built again with the same result
    have a new record but the same stamp, and retrain nothing.
    """
    data = EXPERIMENTS[wildcards.experiment].data
    return {
        "prices": str(data.prices),
        "features": str(data.features),
        "features_record": ancient(str(configs.features_record(data.features))),
        "stamp": f"results/{wildcards.experiment}/data.md5",
    }


def identity(entry, **parts):
    """The code and the settings that a rule's results depend on, as one JSON string for `params`.

    One string, because Snakemake sees no change when two params swap their values.
    """
    return json.dumps({"code": code_digest(entry), **parts}, sort_keys=True)


def run_identity(wildcards):
    """Everything that a trained weight depends on, except its input files."""
    own = EXPERIMENTS[wildcards.experiment]
    budget, seed = configs.split_run_name(wildcards.run, own.seed)
    asked = configs.training_identity(own, MODELS[budget])
    asked["training"] |= {"param_budget": budget, "seed": seed}
    return identity("train", versions=VERSIONS, **asked)


def budget_of(wildcards):
    return configs.split_run_name(wildcards.run, EXPERIMENTS[wildcards.experiment].seed)[0]


def seed_of(wildcards):
    return configs.split_run_name(wildcards.run, EXPERIMENTS[wildcards.experiment].seed)[1]


def runs_of(experiment):
    """The names of the grid's runs: 2m, 2m.seed43, ..."""
    own = EXPERIMENTS[experiment].seed
    return [configs.run_name(b, s, own) for b in GRID.budgets for s in GRID.seeds]


def of_all_runs(suffix):
    """One file of every run of the grid, for `input`: `of_all_runs("eval.json")`."""
    return lambda wildcards: [
        str(configs.artefact(wildcards.experiment, run, suffix))
        for run in runs_of(wildcards.experiment)
    ]


def existing(wildcards, suffix):
    """The files that exist, one for each budget. They are `params`: inputs would be built."""
    named = [configs.artefact(wildcards.experiment, budget, suffix) for budget in GRID.budgets]
    return [str(path) for path in named if path.is_file()]


def sweeps_of(wildcards):
    return existing(wildcards, "sweep.json")


def shuffled_of(wildcards):
    return existing(wildcards, "shuffled.json")


def has_gpu():
    """Whether there is a CUDA or Apple GPU. It is found without torch, which takes seconds."""
    return shutil.which("nvidia-smi") is not None or (
        sys.platform == "darwin" and os.uname().machine == "arm64"
    )


def training_threads(wildcards):
    """All cores if one checkpoint is the only target, and one core if there are more trainings.

    On two cores, two trainings at a time with one thread each are 1.17 to 1.22 times as fast as
    one after the other with two threads.
    """
    targets = workflow.dag_settings.targets
    alone = len(targets) == 1 and str(next(iter(targets))).endswith(".ckpt")
    return (workflow.cores or 1) if alone else 1


def launcher(wildcards, resources):
    """How a training is started: as one process, or as one process per GPU.

    With several nodes, `gpu` is the number of GPUs on all of them, and `mpi` makes Slurm run this
    line on the first node only. From there srun starts one torchrun on each node. The port comes
    from the job's number, so that two jobs on one node never share it. The `--` keeps torchrun from
    reading our --log as its own --log-dir.
    """
    gpus, nodes = resources.get("gpu", 0), resources.get("nodes", 1)
    if nodes > 1:
        if gpus % nodes or gpus < nodes or not resources.get("mpi"):
            raise WorkflowError(
                f"train: got nodes: {nodes}, gpu: {gpus}, mpi: {resources.get('mpi')}; allowed: gpu"
                " a multiple of nodes (it counts the GPUs of all nodes), and mpi: srun; see"
                " workflow/profiles/slurm/config.yaml"
            )
        return (
            f"srun --nodes {nodes} --ntasks {nodes} --ntasks-per-node 1 --kill-on-bad-exit"
            f" torchrun --nnodes {nodes} --nproc-per-node {gpus // nodes} --rdzv-backend c10d"
            " --rdzv-endpoint $(hostname):$((10000 + SLURM_JOB_ID % 20000))"
            " --rdzv-id $SLURM_JOB_ID -m --"
        )
    if gpus > 1:
        return f"torchrun --standalone --nproc-per-node {gpus} -m --"
    return "python -m"
