"""What several rules need: identities for `params`, runs and figures of a grid, the machine."""

import shutil

from snakemake.exceptions import WorkflowError

# Read once here, because a thousand trainings would read them a thousand times.
VERSIONS = versions_of(COMPUTING_PACKAGES)


def data_files(wildcards):
    """The prices, the features and the records of the features, of all markets of an experiment."""
    data = EXPERIMENTS[wildcards.experiment].data
    return {
        "prices": [str(market.prices) for market in data.markets],
        "features": [str(market.features) for market in data.markets],
        "features_record": [
            str(features_record(market.features, data.manifest)) for market in data.markets
        ],
    }


def checked_data(wildcards):
    """What every rule after the check of the data has for input, with `unpack`.

    The records of the features are `ancient`: features that are built again with the same result
    have a new record but the same stamp, and retrain nothing.
    """
    files = data_files(wildcards)
    records = [ancient(record) for record in files["features_record"]]
    stamp = f"results/{wildcards.experiment}/data.md5"
    return {**files, "features_record": records, "stamp": stamp}


def identity(entry, family=None, **parts):
    """The code and the settings that a rule's results depend on, as one JSON string for `params`.

    One string, because Snakemake sees no change when two params swap their values. A rule that
    builds a network names its `family`, so that the code of another family does not count.
    """
    return json.dumps({"code": code_digest(entry, family=family), **parts}, sort_keys=True)


def tier_digest(tier):
    """The code that builds the features of a tier; none builds a table that was made elsewhere."""
    return None if tier == EXTERNAL else features_digest(tier)


def family_of(wildcards):
    return EXPERIMENTS[wildcards.experiment].family


def shape_of(experiment, budget):
    """The shape of a budget in the experiment's family."""
    family = EXPERIMENTS[experiment].family
    if (budget, family) not in MODELS:
        allowed = ", ".join(known_budgets(family))
        raise WorkflowError(
            f"configs/{experiment}.yaml: the family {family} has no budget {budget};"
            f" allowed: {allowed}"
        )
    return MODELS[budget, family]


def without_recipe(model):
    """What a size is built of, without how it is trained."""
    shape = configs.as_dict(model)
    return {key: shape[key] for key in shape if key not in MULTIPLIERS}


def run_of(experiment, name):
    """The run of that name: its budget, its seed, and the days that it is trained on."""
    return split_run_name(name, EXPERIMENTS[experiment].seed)


def batch_size_of(experiment, name):
    """The batch-size search of a run's budget, for `input`."""
    return str(artefact(experiment, run_of(experiment, name).budget, "batch_size.json"))


def run_identity(experiment, name, entry):
    """Everything that a trained weight depends on, except its input files."""
    own, run = EXPERIMENTS[experiment], run_of(experiment, name)
    asked = configs.training_identity(own, shape_of(experiment, run.budget))
    asked["training"] |= {"param_budget": run.budget, "seed": run.seed, **days_of(run)}
    return identity(entry, own.family, versions=VERSIONS, **asked)


def days_of(run):
    """The days that a run is trained on, as a config says it; nothing if it has all of them."""
    return {} if run.train_days is None else {"train_days": run.train_days, "days": run.days}


def baselines_identity(wildcards):
    """Everything that the baselines depend on; the seed only where it draws their days."""
    own, run = EXPERIMENTS[wildcards.experiment], run_of(wildcards.experiment, wildcards.baselines)
    sections = ("data", "task", "window", "splits")
    asked = {name: configs.as_dict(getattr(own, name)) for name in sections}
    drawn_by = {"seed": run.seed} if run.days == "blocks" else {}
    return identity("judge_baselines", **asked, **days_of(run), **drawn_by)


def days_options(experiment, name):
    """The options of a command that choose the days of that run."""
    chosen = days_of(run_of(experiment, name))
    return [f"--{key.replace('_', '-')}={value}" for key, value in chosen.items()]


def of_all_runs(suffix):
    """One file of every run of the grid, for `input`: `of_all_runs("eval.json")`."""

    def files(wildcards):
        own = EXPERIMENTS[wildcards.experiment].seed
        names = [run_name(run, own) for run in GRID.runs]
        return [str(artefact(wildcards.experiment, name, suffix)) for name in names]

    return files


def reports_of_the_grid(wildcards):
    """The page of each experiment. A law needs two sizes, which is said before any is trained."""
    if len(GRID.budgets) < 2:
        raise WorkflowError(
            f"budgets: got {GRID.budgets[0]}; allowed: two sizes or more, because the page compares"
            " sizes; to train one, name its file: snakemake results/daily/threshold_1pct/2m.ckpt"
        )
    return expand("results/{experiment}/report.html", experiment=GRID.experiments)


def of_all_baselines(suffix):
    """One file of the baselines for each number of days and each draw of the grid.

    The config's own seed draws the blocks that they are fitted to.
    """

    def files(wildcards):
        own = EXPERIMENTS[wildcards.experiment].seed
        runs = [run._replace(budget="baselines", seed=own) for run in GRID.runs]
        names = dict.fromkeys(run_name(run, own) for run in runs)
        return [str(artefact(wildcards.experiment, name, suffix)) for name in names]

    return files


def figures_of_the_grid():
    """The figures of the page, as outputs that Snakemake's own report shows, too.

    Those of a sweep are not among them, because no rule of a study asks for one.
    """
    several = GRID.train_days != ["all"]
    replicated = len(GRID.seeds) > 1 and {*GRID.budgets} - {*GRID.single_seed}
    parts = {
        "runs": True,
        "train_days": several,
        "ensembles": several and replicated,
        "draws": len(GRID.days) > 1,
    }
    return {
        figure.name: report(
            f"results/{{experiment}}/figures/{figure.name}.svg",
            caption=figure.caption_file,
            category="{experiment}",
            subcategory=figure.group,
            labels={"shows": figure.shows},
        )
        for figure in figures_of([name for name, present in parts.items() if present])
    }


def existing(wildcards, suffix):
    """The files that exist, one for each budget. They are `params`: inputs would be built."""
    named = [artefact(wildcards.experiment, budget, suffix) for budget in GRID.budgets]
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
