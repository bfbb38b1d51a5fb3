"""The house: rooms in the order of the data, commands on top, and nothing longer than a screen."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path("scaling")
# Each line may import the lines above it and its own files.
ROOMS = (
    "ground",
    "data",
    "machine",
    "tracking",
    "training",
    "law",
    "judging",
    "figures",
    "commands",
)
GROUND = (
    *("config", "digest", "errors", "grid", "identities", "metrics", "names", "reading", "record"),
    *("registry", "run", "sizes", "splits"),
)
HEAVY = {"torch", "transformers", "pandas"}
LONGEST_COMMAND = 130
LONGEST_FUNCTION = 80
# A docstring that says why its function is longer starts the sentence with these words.
REASON = "Long because "


def name_of(path: Path) -> str:
    """`scaling/data/prices.py` -> `data.prices`, `scaling/data/__init__.py` -> `data`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The line of the house that a module stands on."""
    room, _, inside = module.partition(".")
    if not module or module in GROUND:
        return "ground"
    return room if inside or room in ROOMS else "commands"


def imports_of(source: str, modules: set[str]) -> set[str]:
    """Every module of ours that a source imports, inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        dotted: list[str] = []
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full, from `scaling` on"
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        for path in dotted:
            root, _, name = path.partition(".")
            if root == "scaling":
                found.add(name if name in modules else name.rpartition(".")[0])
    return found


def misplaced(sources: dict[str, str]) -> list[str]:
    """Each import that runs upwards, and each from one command to another."""
    found = []
    for module, source in sources.items():
        for other in sorted(imports_of(source, set(sources)) - {module}):
            here, there = ROOMS.index(room_of(module)), ROOMS.index(room_of(other))
            if there > here or (here == there and room_of(module) == "commands"):
                found.append(f"{module} imports {other}")
    return found


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that import one another, in a circle; empty where there is none."""
    waiting = {module: imports_of(source, set(sources)) for module, source in sources.items()}
    while free := [module for module, needs in waiting.items() if not needs & set(waiting)]:
        for module in free:
            del waiting[module]
    return sorted(waiting)


def heavy_on_import(source: str) -> set[str]:
    """The heavy packages that a source imports as soon as it is imported itself."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found & HEAVY


def functions(source: str) -> Iterator[tuple[str, int, str]]:
    """Every function of a source: its name, its lines, its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield node.name, lines, " ".join((ast.get_docstring(node) or "").split())


def too_long(source: str) -> list[str]:
    """The functions that are longer than a screen and do not say why."""
    return [
        f"{name}: {lines} lines"
        for name, lines, said in functions(source)
        if lines > LONGEST_FUNCTION and REASON not in said
    ]


COMMANDS = sorted(module for module in SOURCES if room_of(module) == "commands")


def test_every_folder_is_a_room_and_every_file_beside_them_ground_or_command() -> None:
    assert {room_of(module) for module in SOURCES} == set(ROOMS)
    assert set(GROUND) <= set(SOURCES)
    for command in COMMANDS:
        assert "run_command(main)" in SOURCES[command], f"{command} is no command"


def test_imports_run_downwards_and_never_from_command_to_command() -> None:
    assert misplaced(SOURCES) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(SOURCES) == []


@pytest.mark.parametrize("module", ("", *GROUND, *COMMANDS))
def test_the_ground_and_every_command_start_light(module: str) -> None:
    assert heavy_on_import(SOURCES[module]) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_door(command: str) -> None:
    assert len(SOURCES[command].splitlines()) <= LONGEST_COMMAND


@pytest.mark.parametrize("module", SOURCES)
def test_a_function_fits_on_a_screen_or_says_why_not(module: str) -> None:
    assert too_long(SOURCES[module]) == []


PLANTED = [
    ("data.prices", "from scaling.training import trainer"),
    ("data.prices", "def f():\n    from scaling.training.trainer import train"),
    ("data.prices", "import scaling.fetch"),
    ("record", "from scaling.data.prices import load_prices"),
    ("training.model", "from scaling.law import judge"),
    ("train", "from scaling import sweep"),
    ("train", "from scaling.sweep import main"),
]


@pytest.mark.parametrize(("module", "line"), PLANTED)
def test_a_misplaced_import_is_noticed(module: str, line: str) -> None:
    planted = {**SOURCES, module: f"{SOURCES[module]}\n{line}\n"}
    assert set(misplaced(planted)) - set(misplaced(SOURCES))


def test_a_circle_inside_a_room_is_noticed() -> None:
    planted = {"data.a": "from scaling.data.b import x", "data.b": "from scaling.data import a"}
    assert circle(planted) == ["data.a", "data.b"]
    assert misplaced(planted) == []


def test_a_long_function_is_noticed_and_its_reason_is_heard() -> None:
    body = "    pass\n" * LONGEST_FUNCTION
    assert too_long(f"def f():\n{body}") == ["f: 81 lines"]
    assert too_long(f'def f():\n    """Long because\n    it must."""\n{body}') == []


def test_a_heavy_import_is_noticed() -> None:
    found = heavy_on_import("import torch.nn as nn\nfrom pandas import Series")
    assert found == {"torch", "pandas"}
    assert heavy_on_import("def f():\n    import torch") == set()
