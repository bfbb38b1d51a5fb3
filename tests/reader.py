"""Somebody who types what a page of the docs says, in a small copy of the repository.

The networks of the pages take minutes to train. Those of the copy bear the same names where a file
has one, and take seconds: its `configs/laptop.yaml` has two tiny sizes and one seed.
"""

import re
from pathlib import Path

import yaml

from tests.miniature import EXPERIMENT, REPOSITORY, make_miniature, run
from tests.test_docs import blocks, lines_typed

LADDER = "experiments: [daily/{}]\nbudgets: [6k, 20k]\nseeds: [42]\n"
MINE = Path("configs/daily/mine.yaml")


class Reader:
    """A reader of the page `docs/<name>.md`, who types in `place`."""

    def __init__(self, place: Path, name: str) -> None:
        self.place = make_miniature(place)
        self.page = re.sub(r"\b2m\b", "20k", (REPOSITORY / f"docs/{name}.md").read_text())
        (place / "configs/daily/threshold_1pct.yaml").write_text(EXPERIMENT)
        (place / "configs/laptop.yaml").write_text(LADDER.format("threshold_1pct"))

    def section(self, heading: str) -> str:
        """What stands under a heading."""
        parts = re.split(r"^## ", self.page, flags=re.M)
        return next(part for part in parts if part.startswith(heading))

    def commands(self, heading: str) -> list[str]:
        """What each line of a section's consoles prints, once all of them were typed."""
        consoles = [text for kind, text in blocks(self.section(heading)) if kind == "console"]
        typed = lines_typed("\n".join(f"```console\n{text}```" for text in consoles))
        assert typed
        return [run(self.place, *command).stdout for command in typed]

    def python(self, heading: str) -> str:
        """The only Python of a section."""
        (program,) = [text for kind, text in blocks(self.section(heading)) if kind == "python"]
        return program

    def program(self, heading: str) -> str:
        """What the Python program of a section prints."""
        return run(self.place, "python", "-c", self.python(heading)).stdout

    def write_config(self, heading: str) -> None:
        """Write the section's YAML as `mine`. What it says alone builds on the experiment."""
        content = {"extends": "daily/threshold_1pct.yaml"}
        settings = [text for kind, text in blocks(self.section(heading)) if kind in ("", "yaml")]
        assert settings
        for text in settings:
            content |= yaml.safe_load(text)
        (self.place / MINE).write_text(yaml.safe_dump(content))

    def report(self, experiment: str = "daily/mine") -> str:
        """The page of an experiment."""
        return (self.place / f"results/{experiment}/report.html").read_text()
