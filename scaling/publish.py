"""Gather the figures of a finished study that a page may cite, and print its tables in Markdown.

python -m scaling.publish --grid configs/laptop.yaml --output docs/results/laptop.json

It needs the study's data, and refuses every study that the report refuses. A test compares the
figures in README and docs with the written files. `--slopes` draws the slopes over sizes of all
studies in the output's folder, with their intervals.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from scaling.errors import run_command
from scaling.grid import load_grid
from scaling.names import RESULTS_ROOT
from scaling.reading import read_yaml


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.publish", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--grid", type=Path, required=True, help="the grid that was built, of one experiment")
    add("--results", type=Path, default=RESULTS_ROOT, help="default: %(default)s")
    add("--output", type=Path, required=True, help="the JSON to write")
    add("--slopes", type=Path, help="an SVG of all studies that lie beside the output")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read and verify the study's files, write the summary, print the tables."""
    arguments = parse(argv)
    grid = load_grid(read_yaml(arguments.grid), arguments.grid)

    from scaling.judging.summary import markdown, summarise, tables
    from scaling.record import write_json

    summary = summarise(grid, arguments.grid, arguments.results)
    write_json(arguments.output, asdict(summary))
    if arguments.slopes:
        draw_slopes(arguments.output.parent, arguments.slopes)
    print("\n\n".join(markdown(table) for table in tables(summary)))
    checks, verdict = summary.checks, summary.law.ladder.parameters.verdict
    print(
        f"\nmade {arguments.output}: {len(summary.runs)} runs, {verdict}, "
        f"{checks['passed']} of {checks['made']} checks passed\n"
        "next: put these tables into docs/experiments.md; a test compares the two"
    )


def draw_slopes(folder: Path, path: Path) -> None:
    """Draw the slope over sizes of each published study in a folder, in the order of its names."""
    from scaling.figures.plots import slopes
    from scaling.figures.svg import to_svg
    from scaling.judging.summary import label, read_summary
    from scaling.record import atomic_file

    laws = {file.stem: read_summary(file).law for file in sorted(folder.glob("*.json"))}
    studies = {
        f"{name}, {label(sizes.points[0])} to {label(sizes.points[-1])}": sizes
        for name, law in laws.items()
        for sizes in [law.ladder.parameters]
    }
    figure = slopes(studies, [law.delta_nats for law in laws.values()])
    with atomic_file(path) as stream:
        stream.write(to_svg(figure, "slopes").file.encode())


if __name__ == "__main__":
    run_command(main)
