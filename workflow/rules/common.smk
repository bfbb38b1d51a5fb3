"""What several rules ask: identities for `params`, the runs of a grid, the machine's share."""

import shutil

from snakemake.exceptions import WorkflowError

# Read once: a thousand trainings would read a thousand times what pip wrote down.
VERSIONS = versions_of(COMPUTING_PACKAGES)


def configured(path_of):
    """The experiment's own path, read from its config: `configured(lambda data: data.prices)`."""
    return lambda wildcards: str(path_of(EXPERIMENTS[wildcards.experiment].data))


def features_record_of(wildcards):
    """What the features were made from, which each command checks.

    `ancient` where the stamp is an input too: features that are made again and come out the same
    have another record, and retrain nothing.
    """
    return str(configs.features_record(EXPERIMENTS[wildcards.experiment].data.features))


def identity(module, **parts):
    """One JSON string for `params`: Snakemake takes two params that swap values for equal."""
    return json.dumps({"code": code_digest(module), **parts}, sort_keys=True)


def run_identity(wildcards):
    """All that a trained weight depends on, besides its input files."""
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
    """The grid's budgets and seeds as run names: 2m, 2m.seed43, ..."""
    own = EXPERIMENTS[experiment].seed
    return [configs.run_name(b, s, own) for b in GRID.budgets for s in GRID.seeds]


def of_all_runs(suffix):
    """That file of every run of the grid, for one experiment."""
    return lambda wildcards: [
        str(configs.artefact(wildcards.experiment, run, suffix))
        for run in runs_of(wildcards.experiment)
    ]


def existing(wildcards, suffix):
    """That file of the grid's budgets, where there is one. For `params`: an input would be built."""
    named = [configs.artefact(wildcards.experiment, budget, suffix) for budget in GRID.budgets]
    return [str(path) for path in named if path.is_file()]


def sweeps_of(wildcards):
    return existing(wildcards, "sweep.json")


def shuffled_of(wildcards):
    return existing(wildcards, "shuffled.json")


def has_gpu():
    """CUDA or Apple; asked without torch, whose import costs seconds."""
    return shutil.which("nvidia-smi") is not None or (
        sys.platform == "darwin" and os.uname().machine == "arm64"
    )


def training_threads(wildcards):
    """All cores when the only target is this checkpoint, else one: the grid's fill the cores.

    Two one-thread trainings beat one two-thread training by 1.17 to 1.22 on two cores.
    """
    targets = workflow.dag_settings.targets
    alone = len(targets) == 1 and str(next(iter(targets))).endswith(".ckpt")
    return (workflow.cores or 1) if alone else 1


def launcher(wildcards, resources):
    """One process, or one per GPU where a profile gives a training more than one.

    On several nodes `gpu` counts those of all, and `mpi` makes this line run in Slurm's batch script
    on the first of them: there it starts one torchrun a node. A port by the job's number, so that
    two jobs on one node share none. `--`: torchrun would take our --log for its own --log-dir.
    """
    gpus, nodes = resources.get("gpu", 0), resources.get("nodes", 1)
    if nodes > 1:
        if gpus % nodes or gpus < nodes or not resources.get("mpi"):
            raise WorkflowError(
                f"train: got nodes: {nodes}, gpu: {gpus}, mpi: {resources.get('mpi')}; allowed: as"
                " many gpu (of all nodes together) on each node, and mpi: srun; see"
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
