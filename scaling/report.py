"""One self-contained page of a study: verdict, ladder, table, diagnostics, checks, provenance.

    python -m scaling.report --law scaling_law.json --records 2m.json ... \\
        --evaluations 2m.eval.json ... --predictions 2m.predictions.parquet ... \\
        --baselines baselines.predictions.parquet --baselines-record baselines.json \\
        --figures figures --output report.html [--sweeps 2m.sweep.json ...] \\
        [--controls 200k.shuffled.json ...]
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import UserError, run_command
from scaling.figures.page import html_page
from scaling.record import atomic_file, file_md5, read_json

if TYPE_CHECKING:
    import pandas as pd


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.report",
        description="One self-contained HTML page of a study, and its figures as SVG.",
    )
    add = parser.add_argument
    add("--law", type=Path, required=True, help="scaling_law.json")
    add("--records", type=Path, nargs="+", required=True, help="one <run>.json for each run")
    add("--evaluations", type=Path, nargs="+", required=True, help="one <run>.eval.json each")
    add("--predictions", type=Path, nargs="+", required=True, help="<run>.predictions.parquet")
    add("--baselines", type=Path, required=True, help="baselines.predictions.parquet")
    add("--baselines-record", type=Path, required=True, help="baselines.json")
    add("--sweeps", type=Path, nargs="*", default=[], help="<budget>.sweep.json, where tried")
    add("--controls", type=Path, nargs="*", default=[], help="<budget>.shuffled.json, where run")
    add("--figures", type=Path, required=True, help="folder for the figures as SVG files")
    add("--output", type=Path, required=True, help="report.html")
    return parser


# --- what belongs together -------------------------------------------------------------------


def require_one_study(
    law: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    baselines: dict[str, Any],
    files: Iterable[Path],
) -> None:
    """Refuse to mix: one experiment, one data set, one set of labels, one law fitted to `files`.

    `files` are the predictions of networks and baselines. Raises `UserError`.
    """
    again = f"snakemake --force results/{law['experiment']}/scaling_law.json"
    for key in ("experiment", "label_hash", "data_md5", "features_md5"):
        found = {str(item[key]) for item in (*records, *evaluations, baselines)}
        if len(found) > 1:
            raise UserError(
                f"the files are not of one study: {key} is {' and '.join(sorted(found))}; "
                f"give files of one experiment, made again where old: {again}"
            )
    if law["experiment"] != baselines["experiment"]:
        raise UserError(
            f"--law is of {law['experiment']}, the runs are of {baselines['experiment']}; "
            "give files of one experiment"
        )
    asked = {(budget, seed) for budget, seeds in law["seeds"].items() for seed in seeds}
    for flag, items in (("--records", records), ("--evaluations", evaluations)):
        given = {(item["budget"], item["seed"]) for item in items}
        if given != asked:
            odd = sorted(f"{budget} seed {seed}" for budget, seed in given ^ asked)
            raise UserError(
                f"{flag} and the law do not name the same runs: {', '.join(odd)}; give one file "
                "for each run that the law was fitted to"
            )
    fitted = set(law["inputs"].values())
    for path in files:
        if file_md5(path) not in fitted:
            raise UserError(f"{path}: the law was not fitted to this file; fit it again: {again}")


def recipe(made: dict[str, Any]) -> dict[str, Any]:
    """What a sweep or a control is true for, by name: all but the multiplier and the seed.

    `made` has `configs.training_identity` in it. Device and precision may differ: they are not
    part of the question.
    """
    sections = ("task", "window", "splits", "optimiser")
    parts = {section: made["training"].get(section, {}) for section in sections}
    parts["model"] = {k: v for k, v in made["model"].items() if k != "learning_rate_multiplier"}
    flat = {f"{part}.{key}": v for part, values in parts.items() for key, v in values.items()}
    return flat | {key: made[key] for key in ("data_md5", "label_hash")}


def read_optional(
    paths: Sequence[Path], kind: str, law: dict[str, Any], records: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The sweeps or shuffled controls of this ladder, smallest budget first, and what is left out.

    Nothing rebuilds these files with the study, so they may be of an older one; that is said, one
    line a file, and spoils no report.
    """
    order = [size["budget"] for size in law["sizes"]]
    found: dict[str, dict[str, Any]] = {}
    left_out = []
    for path in paths:
        made = read_json(path)
        why, instead = "", "drop it from the command"
        if made.get("kind") != kind:
            why, instead = f"it is no {kind}", "give one, or none"
        elif made["budget"] not in order:
            why = f"it is of {made['budget']}, the ladder has {', '.join(order)}"
        elif made["budget"] in found:
            why = f"another {kind} of {made['budget']} stands before it"
        else:
            instead = f"make it again: snakemake --force results/{law['experiment']}/{path.name}"
            run = next(run for run in records if run["budget"] == made["budget"])
            why = difference(made, run)
        if why:
            left_out.append(f"{path} is left out: {why}; {instead}")
        else:
            found[made["budget"]] = made
    return [found[budget] for budget in order if budget in found], left_out


def difference(made: dict[str, Any], run: dict[str, Any]) -> str:
    """What sets a sweep or a control apart from a trained run of its budget; empty for nothing."""
    if "training" not in made or "model" not in made:
        return "it does not say what was trained, as older ones do not"
    trained, asked = recipe({**run, "training": run["config"]}), recipe(made)
    if made["kind"] == "shuffled control":  # it vouches for code and features, too
        trained |= {"features_md5": run["features_md5"], "training code": run["code_digest"]}
        asked |= {
            "features_md5": made["features_md5"],
            "training code": made["training_code_digest"],
        }
    return ", ".join(
        f"{name} is {asked.get(name)}, the ladder's is {trained.get(name)}"
        for name in sorted(asked.keys() | trained.keys())
        if asked.get(name) != trained.get(name)
    )


def merged_checks(evaluations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each check once: passed if it passed in every run, else what the failing runs found.

    An evaluation here is anything with a `run` and its `checks`.
    """
    merged: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        for item in evaluation["checks"]:
            row = merged.setdefault(item["name"], {**item, "runs": []})
            if not item["passed"]:
                if row["passed"]:
                    row |= {**item, "runs": row["runs"]}
                row["runs"].append(evaluation["run"])
    return list(merged.values())


# --- the page --------------------------------------------------------------------------------


def draw(
    law: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    networks: "pd.DataFrame",
    baselines: "pd.DataFrame",
    sweeps: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Every figure of `page.FIGURES` by name, and "sweeps" where there are any.

    `networks` and `baselines` are all prediction rows.
    """
    import pandas as pd

    from scaling.figures import plots
    from scaling.judging import checks
    from scaling.metrics import log_loss

    order = [size["budget"] for size in law["sizes"]]
    records = sorted(records, key=lambda run: (order.index(run["budget"]), run["seed"]))
    networks = networks[(networks["weights"] == "best") & (networks["split"] == "test")]
    baselines = baselines[baselines["split"] == "test"]
    best = law["best_network"]["budget"]
    mean = {
        budget: networks[networks["budget"] == budget]
        .groupby("date", as_index=False)
        .agg(y=("y", "first"), p=("p", "mean"))
        for budget in order
    }
    of_baseline = {str(name): rows for name, rows in baselines.groupby("model", sort=False)}
    against = law["best_network"]["against"]
    strongest = max(against, key=lambda name: against[name]["skill"])
    rival = of_baseline[strongest]
    y = next(iter(of_baseline.values()))["y"]
    base_loss = log_loss(y, [law["base_rate"]] * len(y))
    losses = pd.DataFrame(
        [
            {
                "budget": run["budget"],
                "flops": run["flops"],
                "log_loss": next(
                    e["metrics"]["best"]["test"]["log_loss"]
                    for e in evaluations
                    if (e["budget"], e["seed"]) == (run["budget"], run["seed"])
                ),
            }
            for run in records
        ]
    )
    drawn = {
        "ladder": plots.ladder(
            law["sizes"], base_loss, {name: row["skill"] for name, row in against.items()}
        ),
        "compute": plots.compute(losses),
        "learning_curves": plots.learning_curves(records),
        "reliability": plots.reliability_diagram(
            {best: (mean[best]["y"], mean[best]["p"]), strongest: (rival["y"], rival["p"])}
        ),
        "skill_by_year": plots.skill_by_year({**mean, strongest: rival}, law["base_rate"]),
        "drift": plots.drift(evaluations[0]["drift"], checks.LARGEST_SHIFT),
    }
    return drawn | ({"sweeps": plots.sweeps(sweeps)} if sweeps else {})


def main(argv: list[str] | None = None) -> None:
    """Read what the flags name, refuse a mixture, write the page and its figures."""
    arguments = _parser().parse_args(argv)
    law = read_json(arguments.law)
    records = [read_json(path) for path in arguments.records]
    evaluations = [read_json(path) for path in arguments.evaluations]
    baselines = read_json(arguments.baselines_record)
    require_one_study(
        law, records, evaluations, baselines, (*arguments.predictions, arguments.baselines)
    )
    sweeps, old_sweeps = read_optional(arguments.sweeps, "sweep", law, records)
    controls, old_controls = read_optional(arguments.controls, "shuffled control", law, records)
    left_out = [*old_controls, *old_sweeps]
    shuffled = [
        {"run": f"{control['budget']} shuffled", "checks": [control["check"]]}
        for control in controls
    ]
    checks = merged_checks([*evaluations, *shuffled])

    import pandas as pd

    from scaling.figures.plots import to_svg

    networks = pd.concat([pd.read_parquet(p) for p in arguments.predictions], ignore_index=True)
    rivals = pd.read_parquet(arguments.baselines)
    drawn = draw(law, records, evaluations, networks, rivals, sweeps)
    if not sweeps:
        (arguments.figures / "sweeps.svg").unlink(missing_ok=True)
    figures = {name: to_svg(figure, name) for name, figure in drawn.items()}
    for name, svg in figures.items():
        with atomic_file(arguments.figures / f"{name}.svg") as stream:
            stream.write(svg.file.encode())
    inline = {name: svg.element for name, svg in figures.items()}
    with atomic_file(arguments.output) as stream:
        content = html_page(law, records, evaluations, baselines, checks, sweeps, left_out, inline)
        stream.write(content.encode())
    names = [item["name"] for item in checks if not item["passed"]]
    failed = f" (CHECKS FAILED: {', '.join(names)})" if names else ""
    for line in left_out:
        print(line)
    print(
        f"made {arguments.output} and {len(drawn)} figures in {arguments.figures}: "
        f"{law['verdict']}{failed}\n"
        f"next: open {arguments.output} in a browser"
    )


if __name__ == "__main__":
    run_command(main)
