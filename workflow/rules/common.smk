"""What several rules need: identities for `params`, runs and figures of a grid, the machine."""

import functools
import shutil
from dataclasses import replace

from snakemake.exceptions import WorkflowError


def prices_of_features(wildcards):
    """The prices that features are built from."""
    prices = Path(f"data/raw/{wildcards.asset}.parquet")
    record = Path(f"data/processed/v1/{wildcards.asset}_features_{wildcards.tier}.json")
    make_again_if(record, outdated_features, prices, Path("data/manifest.json"))
    return str(prices)


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


def checked_data(rule=None):
    """What every rule after the check of the data has for input, with `unpack`.

    The records of the features are `ancient`: features that are built again with the same result
    have a new record but the same stamp, and retrain nothing. The artefact of a `rule` is made
    again if it is outdated.

    Of a fold all files are `ancient` but its own stamp, which days after its test block leave as it
    is.
    """

    def files(wildcards):
        experiment = wildcards.experiment
        if rule:
            name, runs, *others = ARTEFACTS[rule](wildcards, EXPERIMENTS[experiment])
            runs = [replace(run, **data_of(experiment, run.name.origin)) for run in runs]
            make_again_if(Path("results", experiment, name), outdated, runs, *others)
        names = [text for key, text in wildcards.items() if key in ("run", "sample", "baselines")]
        origin = name_of(experiment, names[0]).origin if names else None
        found = data_files(wildcards)
        old = found if origin else ["features_record"]
        found |= {key: [ancient(file) for file in found[key]] for key in old}
        return {**found, "stamp": stamp_of(experiment, origin)}

    return files


def stamp_of(experiment, origin):
    """What tells of the data of an experiment, or of those that one of its folds may see."""
    return f"results/{experiment}/data{f'.from{origin}' if origin else ''}.md5"


def stamp_of_a_search(wildcards):
    """The stamp before a batch-size search; new days or folds of a walk make none out of date."""
    stamp = stamp_of(wildcards.experiment, None)
    return ancient(stamp) if EXPERIMENTS[wildcards.experiment].walk_forward else stamp


def make_again_if(path, why, *compared):
    """Have an artefact made again that says it was made with something else than is asked for now.

    Snakemake knows why it made a file only as long as it has its folder `.snakemake`, which copied
    results are without. Input functions run before it decides what to make, so that what is added
    here counts as if it stood behind --forcerun.
    """
    if not workflow.is_main_process or path in LOOKED_AT or not path.is_file():
        return
    LOOKED_AT.add(path)
    if found := why(path, *compared):
        print(f"made again: {path}: {found}", file=sys.stderr)
        workflow.dag.forcefiles.add(str(path))


LOOKED_AT = set()


def text_of(made):
    """What a rule's results depend on besides its input files, as one JSON string for `params`.

    One string, because Snakemake sees no change when two params swap their values.
    """
    return json.dumps(made, sort_keys=True)


def experiments_with(wildcards):
    """How many experiments the grid has, with that of the target; verdicts are adjusted for them."""
    return len({*GRID.experiments, wildcards.experiment})


def code_of(entry, family=None, **parts):
    """The code that a rule's results depend on, for `params`, and the settings that do.

    A rule that builds a network names its `family`, so that the code of another does not count.
    """
    return text_of({"code": code_digest(entry, family=family), **parts})


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


def name_of(experiment, text):
    """The run of that name."""
    return RunName.read(text, EXPERIMENTS[experiment].seed)


def config_of(experiment, text):
    """The experiment's config with the parts of a run's name."""
    return identities.with_name(EXPERIMENTS[experiment], name_of(experiment, text))


@functools.cache
def asked(experiment, text, entry="train"):
    """The run of that name as config and code ask for it now."""
    config = config_of(experiment, text)
    model = shape_of(experiment, config.param_budget)
    return identities.run_of(config, model, experiment, entry)


@functools.cache
def asked_baselines(experiment, text):
    """The baselines of that name as config and code ask for them now."""
    return identities.baselines_run(config_of(experiment, text), experiment)


@functools.cache
def data_of(experiment, origin):
    """The MD5s of prices and features, as far as they are known before anything is made."""
    stamp = Path(stamp_of(experiment, origin))
    known = stamped_data(stamp) if origin else registered_data(EXPERIMENTS[experiment])
    return dict(zip(("prices", "features"), known))


# By rule: its artefact, the runs that it is of, and on what else it depends.
ARTEFACTS = {
    "train": lambda w, own: (f"{w.run}.json", [asked(w.experiment, w.run)]),
    "evaluate": lambda w, own: (
        f"{w.run}.eval.json",
        [asked(w.experiment, w.run)],
        identities.judged_by(own),
    ),
    "baselines": lambda w, own: (
        f"{w.baselines}.json",
        [asked_baselines(w.experiment, w.baselines)],
    ),
    "sweep": lambda w, own: (
        f"{w.sample}.sweep.json",
        [asked(w.experiment, w.sample, "sweep")],
        None,
        (*MACHINE, "seed"),
    ),
    "shuffled_control": lambda w, own: (
        f"{w.sample}.shuffled.json",
        [asked(w.experiment, w.sample)],
        identities.controlled_by(own),
    ),
    "age": lambda w, own: (
        f"{w.budget}.age.json",
        [asked(w.experiment, name) for name in folds_of(w)],
        identities.aged_by(own),
    ),
    "fit_law": lambda w, own: (
        "scaling_law.json",
        [asked(w.experiment, run.written(own.seed)) for run in GRID.runs_of(own)],
        identities.fitted_by(own, experiments_with(w)),
    ),
}


def batch_size_of(experiment, text):
    """The batch-size search of a run's budget, for `input`."""
    return str(artefact(experiment, name_of(experiment, text).budget, "batch_size.json"))


def sample_options(experiment, text):
    """The options of a command that choose the fold, the training days and the markets of a run."""
    name = name_of(experiment, text)
    days = {} if name.days.whole else {"train-days": name.days.train_days, "draw": name.days.draw}
    fold = {} if name.origin is None else {"origin": name.origin}
    markets = {} if name.markets is None else {"markets": name.markets}
    return [f"--{flag}={value}" for flag, value in {**fold, **days, **markets}.items()]


def of_all_runs(suffix):
    """One file of every run of the grid, for `input`: `of_all_runs("eval.json")`."""

    def files(wildcards):
        own = EXPERIMENTS[wildcards.experiment]
        names = [run.written(own.seed) for run in GRID.runs_of(own)]
        return [str(artefact(wildcards.experiment, name, suffix)) for name in names]

    return files


def folds_of(wildcards):
    """The names of a size's runs on all training days: every fold of a walk, with the grid's seeds."""
    own = EXPERIMENTS[wildcards.experiment]
    if own.walk_forward is None:
        raise WorkflowError(
            f"{wildcards.experiment} does not walk forward, so its networks meet no later block;"
            " allowed: an experiment with walk_forward, such as daily/sp500_walk"
        )
    fewer = {name: seeds for name, seeds in GRID.fewer_seeds.items() if name == wildcards.budget}
    grid = replace(GRID, budgets=[wildcards.budget], fewer_seeds=fewer)
    return [run.written(own.seed) for run in grid.runs_of(own) if run.whole]


def reports_of_the_grid(wildcards):
    """The page of each experiment. A law needs two sizes, which is said before any is trained."""
    if len(GRID.budgets) < 2:
        raise WorkflowError(
            f"budgets: got {GRID.budgets[0]}; allowed: two sizes or more, because the page compares"
            " sizes; to train one, name its file: snakemake results/daily/threshold_1pct/2m.ckpt"
        )
    return expand("results/{experiment}/report.html", experiment=GRID.experiments)


def of_all_baselines(suffix):
    """One file of the baselines for each fold, each number of days and each draw of the grid.

    The config's own seed draws the blocks that they are fitted to.
    """

    def files(wildcards):
        own = EXPERIMENTS[wildcards.experiment]
        runs = [replace(run, budget=BASELINES, seed=own.seed) for run in GRID.runs_of(own)]
        names = dict.fromkeys(run.written(own.seed) for run in runs)
        return [str(artefact(wildcards.experiment, name, suffix)) for name in names]

    return files


def figures_of_the_grid():
    """The figures of the page, as outputs that Snakemake's own report shows, too.

    Those of a sweep and of age are not among them, because no rule of a study asks for one, and
    that of the direction is not, because only the test days tell whether it can be measured. Those
    of the folds and of the markets are not, because one experiment of a grid may walk forward or
    judge several markets and another not.
    """
    runs = [run for name in GRID.experiments for run in GRID.runs_of(EXPERIMENTS[name])]
    several = not all(run.whole for run in runs)
    seeds = [GRID.fewer_seeds.get(budget, len(GRID.seeds)) for budget in GRID.budgets]
    parts = {
        "runs": True,
        "train_days": several,
        "ensembles": several and max(seeds) > 1,
        "draws": len(GRID.draw) > 1,
    }
    return {
        figure.name: report(
            f"results/{{experiment}}/figures/{figure.name}.svg",
            caption=str(figure.caption_file),
            category="{experiment}",
            subcategory=figure.group,
            labels={"shows": figure.shows},
        )
        for figure in figures_of([name for name, present in parts.items() if present])
    }


def existing(suffix):
    """The files that exist, one for each budget. They are `params`: inputs would be built."""

    def files(wildcards):
        named = [artefact(wildcards.experiment, budget, suffix) for budget in GRID.budgets]
        return [str(path) for path in named if path.is_file()]

    return files


sweeps_of, shuffled_of, ages_of = map(existing, ("sweep.json", "shuffled.json", "age.json"))


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
