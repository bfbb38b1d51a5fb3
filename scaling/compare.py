"""Lay the ladders of several studies over each other, such as those of two families of networks.

python -m scaling.compare --output ladders.svg --laws \\
    results/daily/threshold_1pct/scaling_law.json \\
    results/daily/threshold_1pct_patchtsmixer/scaling_law.json
"""

import argparse
from pathlib import Path

from scaling.errors import run_command
from scaling.record import atomic_file


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--laws", type=Path, nargs="+", required=True, help="one scaling_law.json for each study")
    add("--output", type=Path, required=True, help="the figure, an SVG file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read the laws, refuse what cannot be compared, draw, say each verdict and difference."""
    arguments = parse(argv)

    from scaling.figures.plots import ladders
    from scaling.figures.svg import to_svg
    from scaling.judging.recipes import study_differences
    from scaling.law.result import read_laws

    laws = read_laws(arguments.laws)
    differences = study_differences(laws)
    sizes = {experiment: law.ladder.cells for experiment, law in laws.items()}
    figure = ladders(sizes, differences)
    with atomic_file(arguments.output) as stream:
        stream.write(to_svg(figure, "ladders").file.encode())
    for experiment, law in laws.items():
        print(f"{experiment}: {law.ladder.parameters.verdict}. {law.ladder.sentence}")
    for line in differences:
        print(f"besides the networks' shapes, the studies differ in {line}")
    print(
        f"made {arguments.output}: {len(laws)} ladders on the same {law.test_days.count:,} days\n"
        f"next: open {arguments.output} in a browser"
    )


if __name__ == "__main__":
    run_command(main)
