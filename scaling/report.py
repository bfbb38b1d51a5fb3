"""One self-contained page of a study: verdict, ladder, tables, diagnostics, checks, provenance.

    python -m scaling.report --law scaling_law.json --records 2m.json ... \\
        --evaluations 2m.eval.json ... --predictions 2m.predictions.parquet ... \\
        --baselines baselines.predictions.parquet --baselines-record baselines.json \\
        --figures figures --output report.html [--sweeps 2m.sweep.json ...] \\
        [--controls 200k.shuffled.json ...] [--ages 200k.age.json ...]
"""

import argparse
from pathlib import Path
from typing import Any

from scaling.errors import run_command
from scaling.record import atomic_file
from scaling.run import Run


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scaling.report",
        description="One self-contained HTML page of a study, and its figures as SVG.",
    )
    add = parser.add_argument
    each: dict[str, Any] = {"type": Path, "nargs": "+", "required": True}
    add("--law", type=Path, required=True, help="scaling_law.json")
    add("--records", **each, help="one <run>.json for each run")
    add("--evaluations", **each, help="one <run>.eval.json each")
    add("--predictions", **each, help="<run>.predictions.parquet")
    samples = "baselines.predictions.parquet, one for each sample of training days"
    add("--baselines", **each, help=samples)
    add("--baselines-record", **each, help="one for each of --baselines")
    add("--sweeps", type=Path, nargs="*", default=[], help="<budget>.sweep.json, where tried")
    add("--controls", type=Path, nargs="*", default=[], help="<budget>.shuffled.json, where run")
    add("--ages", type=Path, nargs="*", default=[], help="<budget>.age.json, where judged")
    add(
        "--config", type=Path, help="the experiment: runs that it would train otherwise are refused"
    )
    add("--figures", type=Path, required=True, help="folder for the figures as SVG files")
    add("--output", type=Path, required=True, help="report.html")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read the files of a study, refuse a mixture, write the page and its figures."""
    arguments = parse(argv)

    from scaling.figures.catalogue import CATALOGUE
    from scaling.figures.gallery import Shown, draw
    from scaling.figures.page import html_page
    from scaling.figures.svg import to_svg
    from scaling.judging.agreement import require_agreement
    from scaling.judging.identity import refuse_outdated
    from scaling.judging.optional_files import ageing_in, read_optional
    from scaling.judging.recipes import recipe_differences, serves_every_size
    from scaling.judging.study_files import merged_checks, read_study

    study = read_study(
        law=arguments.law,
        records=arguments.records,
        evaluations=arguments.evaluations,
        predictions=arguments.predictions,
        baselines=arguments.baselines_record,
        baseline_predictions=arguments.baselines,
    )
    if arguments.config:
        runs = [Run.of(record, record["run"]) for record in study.records]
        refuse_outdated(runs, arguments.config)
    require_agreement(study)
    ladder = study.ladder
    sweeps, old_sweeps = read_optional(arguments.sweeps, "sweep", ladder)
    controls, old_controls = read_optional(arguments.controls, "shuffled control", ladder)
    ages, old_ages = read_optional(arguments.ages, "ageing", ladder)
    left_out = [*old_controls, *old_sweeps, *old_ages]
    shuffled = [
        {"run": f"{control['budget']} shuffled", "checks": [control["check"]]}
        for control in controls
    ]
    all_sizes = {"run": "all sizes", "checks": serves_every_size(ladder.records)}
    checks = merged_checks([*study.evaluations, *study.baselines, all_sizes, *shuffled])
    differences = recipe_differences(study.records)

    shown = Shown(ladder, sweeps, [ageing_in(made) for made in ages])
    svg = {name: to_svg(figure, name) for name, figure in draw(shown).items()}
    for path in (arguments.figures / f"{figure.name}.svg" for figure in CATALOGUE):
        if path.stem not in svg:
            path.unlink(missing_ok=True)
            continue
        with atomic_file(path) as stream:
            stream.write(svg[path.stem].file.encode())
    elements = {name: drawn.element for name, drawn in svg.items()}
    with atomic_file(arguments.output) as stream:
        page = html_page(study, shown, checks, differences, left_out, elements)
        stream.write(page.encode())

    for line in differences:
        print(f"besides size, the runs differ in {line}")
    for line in left_out:
        print(line)
    for check in checks:
        if check["passed"] is None:
            print(f"COULD NOT BE CHECKED, {check['name']}: {check['found']}")
    failed = ", ".join(check["name"] for check in checks if check["passed"] is False)
    print(
        f"made {arguments.output} and {len(svg)} figures in {arguments.figures}: "
        f"{study.law.answer}{f' (CHECKS FAILED: {failed})' if failed else ''}\n"
        f"next: open {arguments.output} in a browser"
    )


if __name__ == "__main__":
    run_command(main)
