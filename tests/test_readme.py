"""The README is true: its files exist, its commands answer, its first screen says what to type."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.miniature import environment

README = Path("README.md").read_text()
MODULES = sorted(set(re.findall(r"python -m (scaling\.\w+)", README)))
COMMANDS = sorted(
    f"scaling.{path.stem}"
    for path in Path("scaling").glob("*.py")
    if "run_command(main)" in path.read_text() and path.stem != "errors"
)


def test_every_module_of_the_library_stands_in_the_code_map() -> None:
    missing = [
        path.name
        for path in Path("scaling").rglob("*.py")
        if path.name != "__init__.py" and path.name not in README
    ]
    assert missing == []


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(
        re.findall(r"`((?:scaling|configs|workflow|tests|docs|data)/[\w/.]+\.\w+)`", README)
    )
    named |= set(re.findall(r"\]\(((?:docs|data)/[\w/.]+)\)", README))
    assert named
    built = ("data/processed/",)
    assert [n for n in sorted(named) if not Path(n).exists() and not n.startswith(built)] == []


def test_the_two_make_commands_stand_on_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    assert "make train" in first_screen
    assert "make test" in first_screen


def test_every_module_that_the_readme_runs_is_a_command() -> None:
    assert set(MODULES) <= set(COMMANDS)


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_explains_itself_without_torch(module: str) -> None:
    code = (
        "import importlib, sys\n"
        f"sys.argv = ['{module}', '--help']\n"
        f"command = importlib.import_module('{module}')\n"
        "try: command.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout


def test_every_target_that_the_readme_types_can_be_built() -> None:
    targets = sorted(set(re.findall(r"snakemake (results/[\w/.]+)", README)))
    assert targets
    done = subprocess.run(
        ["snakemake", "--dry-run", "--quiet", "--", *targets],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
