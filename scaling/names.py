"""What experiments, runs and files are called, and where they are.

The workflow puts these names into shell commands and paths, so a strange one is refused.
"""

import re
from pathlib import Path

from scaling.errors import UserError

CONFIG_ROOT = Path("configs")
MODEL_ROOT = CONFIG_ROOT / "model"
RESULTS_ROOT = Path("results")
TIER_ROOT = Path(__file__).parent / "data/tiers"
DEFAULT_TIER = "a20"
EXTERNAL = "external"  # the tier of a table that was made elsewhere: no module here builds it
FEATURES_FILE = re.compile(r".+_features_([a-z0-9]+)\.parquet")
# What a shell and a file system read as nothing but a name, whatever stands around it.
NAME_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


def safe_name(name: str | Path, key: str = "") -> str:
    """A name or path that is safe in a command line, as it is; any other is a `UserError`.

    The workflow puts the names of experiments and files into shell commands, and a config may come
    from somebody else. `key` is what the message calls the name.
    """
    parts = str(name).removeprefix("/").split("/")
    if ".." in parts or not all(NAME_PART.fullmatch(part) for part in parts):
        raise UserError(
            f"{key}{': ' if key else ''}got {str(name)!r}; allowed: letters from a to z, digits, "
            "_ . - and /, without a part that is .. or starts with -"
        )
    return str(name)


def known_tiers() -> list[str]:
    """The tiers of features. To add a tier, add a module."""
    return sorted(path.stem for path in TIER_ROOT.glob("[!_]*.py"))


def tier_named(features: Path) -> str:
    """`SPY_features_a20.parquet` -> `'a20'`; a name without a known tier is a `UserError`."""
    match = FEATURES_FILE.fullmatch(features.name)
    if match is None or match[1] not in (*known_tiers(), EXTERNAL):
        raise UserError(
            f"features: got {features}; allowed: a name such as SPY_features_{DEFAULT_TIER}.parquet"
            f" that ends in a tier: {', '.join(known_tiers())} (to add one, add a module to "
            f"scaling/data/tiers), or in {EXTERNAL} for a table that was made elsewhere"
        )
    return match[1]


def known_experiments(root: Path = CONFIG_ROOT) -> list[str]:
    """Every experiment: the YAML files in the folders of `configs/`, except the models'.

    A file whose name is not safe in a command line is a `UserError`.
    """
    found = [p for p in root.glob("*/**/*.yaml") if MODEL_ROOT not in p.parents]
    return sorted(safe_name(experiment_name(p), str(root)) for p in found)


def experiment_path(experiment: str) -> Path:
    """`'daily/threshold_1pct'` -> `configs/daily/threshold_1pct.yaml`."""
    return CONFIG_ROOT / f"{experiment}.yaml"


def experiment_name(config_path: str | Path) -> str:
    """The inverse of `experiment_path`; a file outside `configs/` is named by its stem."""
    path = Path(config_path).resolve()
    root = CONFIG_ROOT.resolve()
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return str(inside.with_suffix(""))


def features_record(features: Path, manifest: Path) -> Path:
    """What says how features were made: the JSON file beside them.

    The manifest says it of a table that was made elsewhere.
    """
    return manifest if tier_named(features) == EXTERNAL else features.with_suffix(".json")


def artefact(experiment: str, run: str, suffix: str) -> Path:
    """`('daily/threshold_1pct', '2m', 'ckpt')` -> `results/daily/threshold_1pct/2m.ckpt`."""
    return RESULTS_ROOT / experiment / f"{run}.{suffix}"


def resume_directory(experiment: str, run: str) -> Path:
    """Where a run keeps the states that it resumes from.

    Snakemake deletes the outputs of a job that fails, so it is told nothing of this folder.
    """
    return RESULTS_ROOT / ".resume" / experiment / run
