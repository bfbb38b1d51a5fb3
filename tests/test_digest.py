"""A digest changes with the code that an entry point can reach, and with nothing else."""

import ast
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.digest import (
    GIVEN_BY_A_FAMILY,
    LEFT_OUT,
    NETWORKS,
    PACKAGE,
    code_digest,
    features_digest,
    reached,
)
from scaling.training.families import Family
from tests.test_house import SOURCES, imports_of

TOOLS = '''
"""What a door calls."""
import math

CONSTANT = 1
UNUSED = 2

def helper(base=CONSTANT):
    """Help."""
    return inner() + base

def inner():
    return math.sqrt(2)

def bystander():
    return 3

class Machine:
    """Runs."""
    speed = 4
    def run(self):
        return self.speed
    def unused_method(self):
        return 5
'''
DOOR = """
from scaling.room import tools
from scaling.room.tools import CONSTANT, Machine

def main():
    return tools.helper() + CONSTANT + Machine().run()

if __name__ == "__main__":
    main()
"""


def write(root: Path, files: dict[str, str]) -> Path:
    """A package called scaling, with a door `work` and a room of tools, and `files` besides."""
    package = root / "scaling"
    base = {"__init__.py": "", "work.py": DOOR, "room/__init__.py": "", "room/tools.py": TOOLS}
    for name, text in {**base, **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def edited(package: Path, name: str, old: str, new: str) -> bool:
    """Whether the digest of `work` is another after one edit."""
    before = reached("work", package)
    path = package / name
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    path.write_text(text.replace(old, new))
    return reached("work", package) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("work.py", "def main():", 'def main():  # a comment\n    """A docstring."""'),
        ("room/tools.py", '"""Help."""', '"""Help more."""'),
        ("room/tools.py", '"""Runs."""', '"""Walks."""'),
        ("room/tools.py", "What a door calls.", "What doors call."),
        ("room/tools.py", "return 3", "return 33"),
        ("room/tools.py", "UNUSED = 2", "UNUSED = 22"),
        ("room/tools.py", "def bystander():", "def newcomer():\n    inner()\n\ndef bystander():"),
        ("room/tools.py", "import math", "import math\nimport unused"),
        ("room/tools.py", "return inner() + base", "return (inner()\n            + base)"),
        ("work.py", "import CONSTANT, Machine", "import Machine, CONSTANT, bystander"),
    ],
)
def test_what_changes_no_result_changes_no_digest(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    assert not edited(write(tmp_path, {}), name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("work.py", "tools.helper() +", "tools.helper() -"),
        ("room/tools.py", "return math.sqrt(2)", "return math.sqrt(3)"),
        ("room/tools.py", "CONSTANT = 1", "CONSTANT = 11"),
        ("room/tools.py", "base=CONSTANT", "base=UNUSED"),
        ("room/tools.py", "return 5", "return 55"),
        ("room/tools.py", "import math", "import cmath as math"),
        ("room/tools.py", "class Machine:", "class Machine(dict):"),
        ("work.py", "    main()\n", "    CONSTANT = 3\n    main()\n"),
    ],
)
def test_a_change_in_reach_changes_the_digest(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    assert edited(write(tmp_path, {}), name, old, new)


# A definition `f` in room/target.py, and the ways in which a door can come to use it.
TARGET = "def f():\n    return 1\n\ndef g():\n    return 0\n"
F = "from scaling.room.target import f\n"
WAYS = {
    "a name": f"{F}def main(): f()",
    "another name": "from scaling.room.target import f as other\ndef main(): other()",
    "a module": "from scaling.room import target\ndef main(): target.f()",
    "a module by another name": "import scaling.room.target as t\ndef main(): t.f()",
    "a dotted path": "import scaling.room.target\ndef main(): scaling.room.target.f()",
    "a room": "import scaling.room.target\nfrom scaling import room\ndef main(): room.target.f()",
    "an import inside": "def main():\n    from scaling.room import target\n    target.f()",
    "a value": f"{F}def main(): return map(lambda x: f, [1])",
    "a default": f"{F}def main(call=f): call()",
    "a decorator": f"{F}@f\ndef main(): pass",
    "a base class": f"{F}class C(f): pass\ndef main(): C()",
    "a class attribute": f"{F}class C:\n  x = f()\ndef main(): C()",
    "a constant": f"{F}TABLE = {{'f': f}}\ndef main(): return TABLE",
    "an if": f"{F}if input:\n    def h(): f()\nelse:\n    def h(): pass\ndef main(): h()",
    "a try": f"try:\n    {F}except ImportError:\n    raise\ndef main(): f()",
    "the first of two definitions": (
        f"{F}def h(): f()\nkept = h\ndef h(): pass\ndef main(): kept()"
    ),
    "a text": "from scaling.room import target\ndef main(): getattr(target, 'f')()",
    "a module that looks itself up": f"{F}def h(): f()\ndef main(): globals()[chr(104)]()",
    "a call on import": f"{F}f()\ndef main(): pass",
    "an attribute set on import": f"import torch\n{F}torch.step = f\ndef main(): pass",
    "a default that is called on import": f"{F}def h(x=f()): pass\ndef main(): pass",
    "a class body that registers": f"{F}class C:\n    f.table['C'] = 1\ndef main(): pass",
    "a registration": f"{F}@f\ndef h(): pass\ndef main(): pass",
    "a registration by a name that sounds harmless": (
        "from scaling.room.target import f as cache\n@cache\ndef h(): pass\ndef main(): pass"
    ),
    "a subclass that registers": f"{F}class C(f): pass\ndef main(): pass",
    "a room that hands it on": "from scaling.shelf import f\ndef main(): f()",
    "a module that a room hands on": "from scaling.shelf import t\ndef main(): t.f()",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_definition_is_found_by(tmp_path: Path, way: str) -> None:
    shelf = f"import scaling.room.target as t\n{F}"
    files = {"work.py": WAYS[way], "room/target.py": TARGET, "shelf/__init__.py": shelf}
    assert edited(write(tmp_path / "used", files), "room/target.py", "return 1", "return 11")
    assert not edited(write(tmp_path / "beside", files), "room/target.py", "return 0", "return 9")


def test_two_names_that_swap_their_imports_change_the_digest(tmp_path: Path) -> None:
    door = "from scaling.room.target import f as x, g as y\ndef main(): x() - y()"
    package = write(tmp_path, {"work.py": door, "room/target.py": TARGET})
    assert edited(package, "work.py", "f as x, g as y", "g as x, f as y")


def test_a_name_for_type_checkers_is_not_followed(tmp_path: Path) -> None:
    door = f"if TYPE_CHECKING:\n    {F}def main(x: 'f'): pass"
    package = write(tmp_path, {"work.py": door, "room/target.py": TARGET})
    assert not edited(package, "room/target.py", "return 1", "return 11")


@pytest.mark.parametrize(
    "door",
    [
        "from scaling import near\ndef main(): pass",
        "def main():\n    import scaling.near",
        "def main():\n    from scaling.near import UNUSED",
    ],
)
def test_what_importing_a_module_does_counts_for_all_that_import_it(
    tmp_path: Path, door: str
) -> None:
    files = {
        "work.py": door,
        "near.py": "import scaling.room.far\nUNUSED = 1",
        "room/far.py": "import torch\ntorch.seed(1)\nFAR = 1",
        "room/__init__.py": "import os\nos.environ['Y'] = '4'",
    }
    package = write(tmp_path, files)
    assert edited(package, "room/far.py", "seed(1)", "seed(11)")
    assert edited(package, "room/__init__.py", "'4'", "'44'")
    assert not edited(package, "room/far.py", "FAR = 1", "FAR = 11")


def test_a_template_counts_for_those_that_import_its_room(tmp_path: Path) -> None:
    files = {"room/templates/page.html": "<p>", "room/README.md": "a room", "room/.page.swp": "x"}
    package = write(tmp_path, files)
    assert edited(package, "room/templates/page.html", "<p>", "<div>")
    assert not edited(package, "room/README.md", "a room", "the room")
    assert not edited(package, "room/.page.swp", "x", "y")
    write(tmp_path, {"elsewhere/__init__.py": "", "elsewhere/page.html": "<p>"})
    assert not edited(package, "elsewhere/page.html", "<p>", "<div>")


def test_a_definition_can_be_an_entry_point(tmp_path: Path) -> None:
    package = write(tmp_path, {"room/target.py": TARGET})
    assert set(reached("room.target:f", package)) == {":", "room:", "room.target:", "room.target:f"}
    digest = code_digest("room.target:f", package)
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert digest != code_digest("room.target:g", package)


def test_every_process_gives_the_same_digest() -> None:
    command = "from scaling.digest import code_digest; print(code_digest('train'))"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(PACKAGE.parent)}
    other = subprocess.check_output([sys.executable, "-c", command], env=environment, text=True)
    assert other == f"{code_digest('train')}\n"


@pytest.mark.parametrize("entry", ["nowhere", "room.tools", "room.tools:nothing"])
def test_an_entry_point_that_is_not_there_is_an_error(tmp_path: Path, entry: str) -> None:
    with pytest.raises(LookupError, match="defines no"):
        code_digest(entry, write(tmp_path, {}))


FAMILY = (
    "def build(): return {n}\ndef embedding(): 0\ndef multiply_adds(): 0\ndef other(): 1\n"
    "BASE = 1\ndef transfer(): 0"
)
FAMILIES_ROOM = {
    "work.py": "from scaling.training.families import family_of\ndef main(): family_of('one')",
    "training/__init__.py": "",
    "training/families/__init__.py": "def family_of(name): return found(f'{__package__}.{name}')",
    "training/families/one.py": FAMILY.format(n=1),
    "training/families/two.py": FAMILY.format(n=2),
}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("return 1", "return 11", ["one", None]), ("def other(): 1", "def other(): 2", [])],
)
def test_only_what_the_named_family_gives_counts(
    tmp_path: Path, old: str, new: str, changed: list[str | None]
) -> None:
    package = write(tmp_path, FAMILIES_ROOM)
    before = {family: reached("work", package, family) for family in ("one", "two", None)}
    one = package / "training/families/one.py"
    one.write_text(one.read_text().replace(old, new))
    assert [f for f in before if reached("work", package, f) != before[f]] == changed
    package = write(tmp_path / "none", FAMILIES_ROOM | {"work.py": "def main(): 1"})
    assert not edited(package, "training/families/one.py", old, new)


# --- the library itself ------------------------------------------------------------------------


# Every rule's entry point: the command that it calls, but for the search of the micro-batch, whose
# own code does not make what it found wrong.
RULES = {
    "features": "prepare",
    "check_manifest": "check_data",
    "check_fold": "check_data",
    "find_batch_size": "training.model:build_model",
    "train": "train",
    "sweep": "sweep",
    "evaluate": "evaluate",
    "shuffled_control": "shuffled_control",
    "baselines": "judge_baselines",
    "age": "age",
    "fit_law": "fit",
    "report": "report",
}
TRAINED = {"train", "sweep", "shuffled_control"}
BUILT = {*TRAINED, "find_batch_size", "evaluate", "age"}
# Words of the library, and by hand the rules that run again when they change, because they compute
# with them. What follows from their outputs is Snakemake's to find.
CHANGES = {
    "betas=(0.9, 0.95)": TRAINED,
    # `report` reads data in a module that defines a data set, which computes labels, and
    # `check_manifest` counts the events in the blocks of folds.
    "future.max(axis=1) >= close[": {
        *TRAINED,
        *("evaluate", "age", "baselines", "report", "check_manifest", "check_fold"),
    },
    "head_aggregation='avg_pool'": BUILT,
    "pooling_type='mean'": BUILT,
    "torch.sigmoid(logits)": {*TRAINED, "evaluate", "age"},
    "LogisticRegression(C=penalty": {"baselines"},
    "SMALLEST_LOGIT_SPREAD = 0.05": {"evaluate"},
    "PERMUTATIONS = 20": {"shuffled_control"},
    "HIGHEST_DROPOUT = 0.4": {"sweep"},
    "'svg.hashsalt'": {"report"},
}


@functools.cache
def reached_by(rule: str) -> dict[str, list[str]]:
    return reached(RULES[rule])


@pytest.mark.parametrize("words", CHANGES)
def test_a_real_change_rebuilds_what_depends_on_it_and_nothing_else(words: str) -> None:
    holding = [module for module, text in SOURCES.items() if words in text.replace('"', "'")]
    assert len(holding) == 1, f"{words} stands in {holding}"
    found = {rule for rule in RULES if any(words in " ".join(v) for v in reached_by(rule).values())}
    assert found == CHANGES[words]


def test_a_comment_and_an_unused_function_in_every_module_rebuild_nothing(tmp_path: Path) -> None:
    package = shutil.copytree(PACKAGE, tmp_path / "scaling")
    # A module that looks its own names up counts whole.
    for path in (p for p in package.rglob("*.py") if "globals()[" not in p.read_text()):
        with path.open("a") as stream:
            stream.write('\n# A comment.\n\n\ndef unused_until_now():\n    """Not used."""\n')
    shutil.copy(package / "data/tiers/c14.py", package / "data/tiers/mine.py")
    assert [r for r, entry in RULES.items() if reached(entry, package) != reached_by(r)] == []


def imported_by(waiting: list[str], lazily: bool) -> set[str]:
    """Every module that importing some imports; if `lazily`, with what functions may import."""
    found = set()
    while waiting:
        module = waiting.pop()
        if module not in found and not f"{module}.".startswith(LEFT_OUT):
            found.add(module)
            top = (
                ast.unparse(node)
                for node in ast.parse(SOURCES[module]).body
                if (lazily or isinstance(node, ast.Import | ast.ImportFrom))
                and not ast.unparse(node).startswith("if TYPE_CHECKING")
            )
            waiting += [*imports_of("\n".join(top), set(SOURCES)), module.rpartition(".")[0]]
    return found


@pytest.mark.parametrize("rule", RULES)
def test_a_side_effect_in_any_module_rebuilds_what_imports_it_and_nothing_else(rule: str) -> None:
    ran = {place[:-1] for place in reached_by(rule) if place.endswith(":")}
    families = [module for module in SOURCES if module.startswith(NETWORKS)]
    module = RULES[rule].partition(":")[0]
    assert imported_by([module], lazily=False) <= ran
    assert ran <= imported_by([module, *families], lazily=True)


def test_every_rule_has_an_entry_point_and_what_is_named_by_hand_is_there() -> None:
    text = "".join(path.read_text() for path in Path("workflow/rules").glob("*.smk"))
    assert {*re.findall(r"^(?:rule|checkpoint) (\w+):$", text, flags=re.M)} == {*RULES}
    assert all(any(f"{module}.".startswith(name) for module in SOURCES) for name in LEFT_OUT)
    given = {*vars(Family), *Family.__annotations__}
    assert {name for name in given if not name.startswith("_")} == {*GIVEN_BY_A_FAMILY}


def test_nothing_in_the_library_is_reached_without_being_named() -> None:
    # `pkgutil.resolve_name` finds families and tiers, of which the digests know.
    unnamed = re.compile(
        r"import_module|__import__|(?<![.\w])(eval|exec)\(|import \*|^ *from \.", re.M
    )
    assert {m for m, text in SOURCES.items() if unnamed.search(text)} == set()
    resolving = {module for module, text in SOURCES.items() if "resolve_name" in text}
    assert resolving == {"training.families", "data.tiers"}
    # A module that is passed on could be asked for anything.
    for module, text in SOURCES.items():
        tree = ast.parse(text)
        parts = list(ast.walk(tree))
        froms = [part for part in parts if isinstance(part, ast.ImportFrom)]
        modules = {
            alias.asname or alias.name
            for part in froms
            for alias in part.names
            if f"{part.module}.{alias.name}".removeprefix("scaling.") in SOURCES
        }
        owners = {id(part.value) for part in parts if isinstance(part, ast.Attribute)}
        names = [part for part in parts if isinstance(part, ast.Name) and id(part) not in owners]
        local = {part.id for part in names if isinstance(part.ctx, ast.Store)}
        local |= {part.arg for part in parts if isinstance(part, ast.arg)}
        passed = {part.id for part in names} & modules - local
        assert not passed, f"{module} passes on {passed}"


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("tiers/a20.py", "talib.ATR(", "talib.NATR(", {"a20", "mine"}),
        ("tiers/c14.py", "ROWS_DROPPED = max", "ROWS_DROPPED = 1 + max", {"c14"}),
        ("tiers/c14.py", 'NEEDS = ("close",)', 'NEEDS = ("close", "volume")', set()),
        ("indicators.py", "close / average - 1", "average / close - 1", {"a20", "c14", "mine"}),
        ("indicators.py", "talib.STDDEV(returns, 20)", "talib.STDDEV(returns, 21)", {"c14"}),
        ("features.py", "_refuse_undefined(features)\n", "1\n", {"a20", "c14", "mine"}),
    ],
)
def test_the_features_of_a_tier_depend_on_its_own_code_and_what_it_imports(
    tmp_path: Path, name: str, old: str, new: str, changed: set[str]
) -> None:
    package = shutil.copytree(PACKAGE, tmp_path / "scaling")
    mine = (
        "from scaling.data.tiers.a20 import FEATURE_NAMES as OTHERS\n"
        "from scaling.data.tiers.a20 import build as others\n"
        "FEATURE_NAMES = OTHERS[:4]\nROWS_DROPPED = 199\nNEEDS = ('close',)\n"
        "def build(prices, calendar):\n    return others(prices, calendar)\n"
    )
    (package / "data/tiers/mine.py").write_text(mine)
    path = package / "data" / name
    text = path.read_text()
    assert text.count(old) == 1
    before = {tier: features_digest(tier, package) for tier in ("a20", "c14", "mine")}
    code_digest.cache_clear()
    path.write_text(text.replace(old, new))
    assert {t for t in before if features_digest(t, package) != before[t]} == changed
    code_digest.cache_clear()
