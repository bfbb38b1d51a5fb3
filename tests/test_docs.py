"""The README and the docs are true: what they name exists, what they type can be typed."""

import contextlib
import functools
import importlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import TypeAdapter

from scaling.config import TrainingConfig
from scaling.reading import merged, read_yaml
from tests import test_house
from tests.miniature import environment, run

README = Path("README.md").read_text()
PAGES = {
    path: path.read_text()
    for path in sorted(
        [Path("README.md"), *Path("docs").glob("*.md"), *Path().glob("[bcd]*/README.md")]
    )
}
COMMANDS = [f"scaling.{command}" for command in test_house.COMMANDS]
BENCHMARKS = sorted({*Path("benchmarks").glob("*.py")} - {Path("benchmarks/common.py")})
FOLDERS = "benchmarks|config|configs|data|docs|scaling|tests|workflow"
# What the pages ask the reader to make, or the workflow makes.
NOT_COMMITTED = (
    "configs/daily/mine.yaml",
    "configs/model/patchtst_5m.yaml",
    "data/processed/",
    "data/raw/ABC.parquet",
    "data/raw/COIN.parquet",
    "data/raw/SPY_features_external.parquet",
)
REGISTRIES = re.compile(r"pypi\.org|pythonhosted\.org|anaconda\.(org|com)|npmjs\.(org|com)")


# --- what the pages say ----------------------------------------------------------------------


def blocks(text: str) -> list[tuple[str, str]]:
    """Every fenced block of a page: its language and its content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def code(text: str) -> str:
    """Every fenced block, indented block and inline span of a page, each from a line's start."""
    fenced = [content for _, content in blocks(text)]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    indented = [line.strip() for line in re.findall(r"^ {4}.*$", prose, re.M)]
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`]+)`", prose)])


def lines_typed(text: str) -> list[list[str]]:
    """The words of every command of ours, of Snakemake and of torchrun."""
    program = r"(?:python -m scaling\.\w+|python benchmarks/\w+\.py|snakemake|torchrun)"
    joined = re.sub(r" *\\\n *", " ", code(text))
    return [
        shlex.split(line, comments=True) for line in re.findall(rf"^{program}\b.*", joined, re.M)
    ]


TYPED = [words for text in PAGES.values() for words in lines_typed(text)]


def our_command(words: list[str]) -> list[str]:
    """The command that a torchrun line runs; every other line as it is."""
    return ["python", "-m", *words[words.index("--") + 1 :]] if words[0] == "torchrun" else words


def is_flag(word: str) -> bool:
    return word.startswith("--") and word != "--"


def help_of(program: str, *subcommand: str) -> str:
    """What a module or a file, run as a program in this process, says to `--help`."""
    output = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [program, *subcommand, "--help"])
        if program.endswith(".py"):
            patch.syspath_prepend(Path(program).parent)  # as Python does for a file
            runpy.run_path(program, run_name="__main__")
        else:
            importlib.import_module(program).main()
    assert not ended.value.code
    return output.getvalue()


@functools.cache
def flags_of(program: str, *subcommand: str) -> frozenset[str]:
    """The flags that the program's own `--help` names."""
    if program == "snakemake":
        said = subprocess.run(
            [program, "--help"], capture_output=True, text=True, env=environment(), check=True
        ).stdout
    else:
        said = help_of(program, *subcommand)
    return frozenset(re.findall(r"--[a-z][\w-]*", said))


def known_flags(words: list[str]) -> frozenset[str]:
    """The flags of a typed command; of a subcommand those of its own."""
    if words[0] == "snakemake":
        return flags_of("snakemake")
    program, *after = words[2 if words[1] == "-m" else 1 :]
    first_flag = next((i for i, word in enumerate(after) if is_flag(word)), len(after))
    return flags_of(program, *after[:first_flag])


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    """Every link of a page that stays in the repository."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def code_map() -> dict[str, list[str]]:
    """The README's map: the paths of each line, by the first of them."""
    block = next(content for _, content in blocks(README) if "scaling/fetch.py" in content)
    lines = {}
    for line in filter(None, block.splitlines()):
        first, *others = line.partition("#")[0].split()
        lines[first] = [first, *(f"{Path(first).parent}/{other}" for other in others)]
    return lines


def settings(text: str) -> list[dict[str, Any]]:
    """Every piece of an experiment's YAML on a page."""
    fenced = [content for language, content in blocks(text) if language == "yaml"]
    return [yaml.safe_load(piece) for piece in fenced + re.findall(r"`(\w+: \{[^`]*\})`", text)]


# --- the README ------------------------------------------------------------------------------


def test_the_two_make_commands_stand_on_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    assert "make train" in first_screen
    assert "make test" in first_screen


def test_the_readme_is_no_longer_than_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_every_door_has_a_line_of_its_own_in_the_map() -> None:
    doors = [f"{name.replace('.', '/')}.py" for name in COMMANDS]
    assert [door for door in doors if code_map().get(door) != [door]] == []


def test_every_module_stands_in_a_room_or_on_the_ground_that_the_map_names() -> None:
    named = {Path(path) for paths in code_map().values() for path in paths}
    modules = [path for path in Path("scaling").rglob("*.py") if path.name != "__init__.py"]
    assert [m for m in modules if not named & {m, Path(*m.parts[:2])}] == []


def test_every_path_of_the_map_exists() -> None:
    named = [path for paths in code_map().values() for path in paths]
    assert [path for path in named if not Path(path).exists()] == []


# --- README and docs -------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    found = re.findall(rf"(?<![\w./<-])(?:{FOLDERS})/[\w./*-]*", PAGES[page])
    named = {path.rstrip(".") for path in found if not path.startswith(NOT_COMMITTED)}
    assert [path for path in sorted(named) if not list(Path().glob(path))] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])scaling(?:\.\w+)+", code(PAGES[page])))
    places = {name: Path(*name.split(".")) for name in named}
    missing = [n for n, p in places.items() if not (p.is_dir() or p.with_suffix(".py").exists())]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in links(PAGES[page]):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if anchor else []
        if not target.exists() or (anchor and anchor not in map(slug, headings)):
            broken.append(link)
    assert broken == []


def test_every_planted_mistake_names_a_test_that_there_is() -> None:
    rows = re.findall(r"^\| .*$", PAGES[Path("docs/validity.md")], re.M)
    mistakes = [row for row in rows if not row.startswith("| mistake |")]
    assert len(mistakes) > 30
    sources = {path.name: path.read_text() for path in Path("tests").rglob("test_*.py")}
    for mistake in mistakes:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", mistake)
        assert named, mistake
        for file, test in named:
            assert f"\ndef {test}(" in sources[file], f"{file}::{test}"


def test_every_page_of_the_docs_is_in_their_index() -> None:
    indexed = links(PAGES[Path("docs/README.md")])
    pages = [path.name for path in Path("docs").glob("*.md") if path.name != "README.md"]
    assert [page for page in pages if page not in indexed] == []


def test_every_benchmark_is_on_the_page_of_the_benchmarks() -> None:
    text = PAGES[Path("benchmarks/README.md")]
    assert [path for path in BENCHMARKS if f"python {path}" not in text] == []


def test_every_module_that_a_page_runs_is_a_command() -> None:
    run = [our_command(words)[2] for words in TYPED if "-m" in words]
    assert run
    assert set(run) <= set(COMMANDS)


def test_every_command_explains_itself_without_torch() -> None:
    code = (
        "import sys\n"
        "from tests.test_docs import COMMANDS, help_of\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'wandb'}\n"
        "for command in COMMANDS:\n"
        "    assert '--help' in help_of(command)\n"
        "    assert not heavy & set(sys.modules), command"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


def test_every_flag_that_a_page_types_is_one_of_its_command() -> None:
    commands = [our_command(words) for words in TYPED]
    assert len(commands) > 20
    unknown = [
        (" ".join(words), flag)
        for words in commands
        for flag in filter(is_flag, words)
        if flag != "--help" and flag not in known_flags(words)
    ]
    assert unknown == []


def test_every_flag_that_a_page_mentions_is_one_of_some_command() -> None:
    programs = [*COMMANDS, *map(str, BENCHMARKS)]
    known = frozenset().union(
        *map(flags_of, programs),
        *(known_flags(our_command(words)) for words in TYPED),  # those of subcommands too
    )
    mentioned = {
        flag for text in PAGES.values() for flag in re.findall(r"^--[a-z][\w-]*", code(text), re.M)
    }
    assert mentioned
    assert mentioned - known == set()


def test_every_make_target_that_a_page_types_exists() -> None:
    targets = set(re.findall(r"^(\w+):.*##", Path("Makefile").read_text(), re.M))
    typed = {
        name for text in PAGES.values() for name in re.findall(r"^make (\w+)", code(text), re.M)
    }
    assert {"train", "test"} <= typed <= targets


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_setting_that_a_page_shows_is_accepted(page: Path) -> None:
    shipped = read_yaml("configs/daily/threshold_1pct.yaml")
    for setting in settings(PAGES[page]):
        own = {key: value for key, value in setting.items() if key != "extends"}
        # A walk takes the place of inherited splits.
        base = {k: v for k, v in shipped.items() if k != "splits" or "walk_forward" not in own}
        TypeAdapter(TrainingConfig).validate_python(merged(base, own))


@pytest.mark.slow
def test_every_target_can_be_built_and_the_page_on_own_data_can_be_followed(
    tmp_path: Path,
) -> None:
    """In a copy, with the prices and the experiment that docs/data.md lets its reader make."""
    for folder in ("scaling", "workflow", "configs", "data"):
        shutil.copytree(folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    plain_years = pd.read_parquet("data/raw/SPY.parquet").loc["2011":]  # nothing needs --allow
    plain_years.to_csv(tmp_path / "prices.csv")
    text = PAGES[Path("docs/data.md")]
    fetch = next(words for words in lines_typed(text) if "prices.csv" in words)
    mine = {"extends": "daily/threshold_1pct.yaml"}
    for setting in settings(text):
        mine |= setting
    (tmp_path / "configs/daily/mine.yaml").write_text(yaml.safe_dump(mine))
    snakemakes = [words for words in TYPED if words[0] == "snakemake"]
    targets = sorted({w for words in snakemakes for w in words if w.startswith("results/")})
    assert "results/daily/mine/2m.ckpt" in targets
    for command in (fetch, ["snakemake", "--dry-run", "--quiet", "all", "--", *targets]):
        run(tmp_path, *command)


def test_the_citation_names_the_version_the_licence_and_the_authors_of_this_package() -> None:
    cited = yaml.safe_load(Path("CITATION.cff").read_text())
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert [author["name"] in Path("LICENSE").read_text() for author in cited["authors"]] == [True]


def test_no_page_and_no_manifest_names_a_registrys_host() -> None:
    texts = {**PAGES, Path("data/manifest.json"): Path("data/manifest.json").read_text()}
    assert [str(path) for path, text in texts.items() if REGISTRIES.search(text)] == []
