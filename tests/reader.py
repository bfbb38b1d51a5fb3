"""Somebody who types what a page of the docs says, in a small copy of the repository.

The networks of the pages take minutes to train. Those of the copy bear the same names where a file
has one, and take seconds: its `configs/laptop.yaml` has two tiny sizes and one seed.
"""

import contextlib
import io
import re
from pathlib import Path

import yaml

from tests.miniature import EXPERIMENT, REPOSITORY, make_miniature, run, run_here
from tests.test_docs import blocks, lines_typed

LADDER = "experiments: [daily/{}]\nbudgets: [6k, 20k]\nseeds: [42]\n"
MINE = Path("configs/daily/mine.yaml")


def lay_out(place: Path) -> Path:
    """A small copy of the repository in `place`, as its reader finds it."""
    make_miniature(place)
    (place / "configs/daily/threshold_1pct.yaml").write_text(EXPERIMENT)
    (place / "configs/laptop.yaml").write_text(LADDER.format("threshold_1pct"))
    return place


def lay_out_ladder(place: Path) -> None:
    """The same with the ladder trained, judged and reported, as the README has it."""
    run(lay_out(place), "snakemake", "--configfile", "configs/laptop.yaml")


class Reader:
    """A reader of the page `docs/<name>.md`, who types in `place`."""

    def __init__(self, place: Path, name: str) -> None:
        self.place = place
        self.page = re.sub(r"\b2m\b", "20k", (REPOSITORY / f"docs/{name}.md").read_text())

    def section(self, heading: str) -> str:
        """What stands under a heading."""
        parts = re.split(r"^## ", self.page, flags=re.M)
        return next(part for part in parts if part.startswith(heading))

    def commands(self, heading: str) -> list[str]:
        """What each line of a section's consoles prints, once all of them were typed."""
        consoles = [text for kind, text in blocks(self.section(heading)) if kind == "console"]
        typed = lines_typed("\n".join(f"```console\n{text}```" for text in consoles))
        assert typed
        return [self.enter(*words) for words in typed]

    def enter(self, *words: str) -> str:
        """What a command prints."""
        if words[:2] == ("python", "-m"):
            return run_here(self.place, words[2].removeprefix("scaling."), *words[3:]).stdout
        return run(self.place, *words).stdout

    def python(self, heading: str) -> str:
        """The only Python of a section."""
        (program,) = [text for kind, text in blocks(self.section(heading)) if kind == "python"]
        return program

    def program(self, heading: str) -> str:
        """What the Python program of a section prints."""
        output = io.StringIO()
        with contextlib.chdir(self.place), contextlib.redirect_stdout(output):
            exec(self.python(heading), {})
        return output.getvalue()

    def write_config(self, *headings: str) -> None:
        """Write the YAML of these sections as `mine`, which builds on the experiment."""
        content = {"extends": "daily/threshold_1pct.yaml"}
        for heading in headings:
            pieces = [text for kind, text in blocks(self.section(heading)) if kind in ("", "yaml")]
            assert pieces
            for text in pieces:
                content |= yaml.safe_load(text)
        (self.place / MINE).write_text(yaml.safe_dump(content))

    def report(self, experiment: str = "daily/mine") -> str:
        """The page of an experiment."""
        return (self.place / f"results/{experiment}/report.html").read_text()
