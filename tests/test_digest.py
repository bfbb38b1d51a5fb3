"""A digest changes with the code that an entry point can reach, and with nothing else.

The last part tries it on the whole library: `pytest tests/test_digest.py -s -k rebuilds` prints a
table of what each change rebuilds.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from scaling.digest import (
    GIVEN_BY_A_FAMILY,
    LEFT_OUT,
    PACKAGE,
    code_digest,
    features_digest,
    reached,
)
from scaling.training.families import Family

DOOR = """
from scaling.room import tools
from scaling.room.tools import CONSTANT, Machine

def main():
    return tools.helper() + CONSTANT + Machine().run()

if __name__ == "__main__":
    main()
"""
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
        ("work.py", "def main():", "def main():  # a comment"),
        ("work.py", "def main():", 'def main():\n    """A docstring."""'),
        ("room/tools.py", '"""Help."""', '"""Help more."""'),
        ("room/tools.py", '"""Runs."""', '"""Walks."""'),
        ("room/tools.py", "What a door calls.", "What doors call."),
        ("room/tools.py", "return 3", "return 33"),
        ("room/tools.py", "UNUSED = 2", "UNUSED = 22"),
        ("room/tools.py", "UNUSED = 2", "UNUSED = lambda: print(inner())"),
        ("room/tools.py", "return 3", "return 3\n\ndef newcomer(x: Annotated[int, Gt(3)]): pass"),
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
        ("room/tools.py", "speed = 4", "speed = 44"),
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
WAYS = {
    "a name": "from scaling.room.target import f\ndef main(): f()",
    "another name": "from scaling.room.target import f as other\ndef main(): other()",
    "a module": "from scaling.room import target\ndef main(): target.f()",
    "a module by another name": "import scaling.room.target as t\ndef main(): t.f()",
    "a dotted path": "import scaling.room.target\ndef main(): scaling.room.target.f()",
    "a room": "import scaling.room.target\nfrom scaling import room\ndef main(): room.target.f()",
    "a relative import": "from .room import target\ndef main(): target.f()",
    "an import inside": "def main():\n    from scaling.room import target\n    target.f()",
    "a name inside": "def main():\n    from scaling.room.target import f\n    f()",
    "a nested function": (
        "from scaling.room import target\n"
        "def main():\n    def inside():\n        return target.f()\n    return inside"
    ),
    "a lambda": "from scaling.room.target import f\ndef main(): return lambda: f()",
    "a value": "from scaling.room.target import f\ndef main(): return map(f, [1])",
    "a default": "from scaling.room.target import f\ndef main(call=f): call()",
    "a decorator": "from scaling.room.target import f\n@f\ndef main(): pass",
    "an annotation": "from scaling.room.target import f\ndef main(x: f): pass",
    "a base class": "from scaling.room.target import f\nclass C(f): pass\ndef main(): C()",
    "a class attribute": "from scaling.room.target import f\nclass C:\n  x = f()\ndef main(): C()",
    "a comprehension": "from scaling.room.target import f\ndef main(): return [f() for f_ in ()]",
    "a constant": "from scaling.room.target import f\nTABLE = {'f': f}\ndef main(): return TABLE",
    "an if": (
        "from scaling.room.target import f\n"
        "if input:\n    def h(): f()\nelse:\n    def h(): pass\ndef main(): h()"
    ),
    "a try": (
        "try:\n    from scaling.room.target import f\nexcept ImportError:\n    raise SystemExit\n"
        "def main(): f()"
    ),
    "the second of two definitions": (
        "from scaling.room.target import f\ndef h(): pass\ndef h(): f()\ndef main(): h()"
    ),
    "the first of two definitions": (
        "from scaling.room.target import f\ndef h(): f()\nkept = h\ndef h(): pass\n"
        "def main(): kept()"
    ),
    "a definition made again": "from scaling.room.target import f\nmain = f",
    "a global": (
        "from scaling.room.target import f\nhook = None\ndef main():\n    global hook\n    hook = f"
    ),
    "a call on import": "from scaling.room.target import f\nf()\ndef main(): pass",
    "an attribute set on import": (
        "import torch\nfrom scaling.room.target import f\ntorch.step = f\ndef main(): pass"
    ),
    "an assignment on import": "from scaling.room.target import f\nX = f()\ndef main(): pass",
    "a default that is called on import": (
        "from scaling.room.target import f\ndef h(x=f()): pass\ndef main(): pass"
    ),
    "a decorator's argument": (
        "from functools import cache\nfrom scaling.room.target import f\n"
        "@cache(f())\ndef h(): pass\ndef main(): pass"
    ),
    "a class body that registers": (
        "from scaling.room.target import f\nclass C:\n    f.table['C'] = 1\ndef main(): pass"
    ),
    "a registration by a harmless name": (
        "from scaling.room.target import f as cache\n@cache\ndef h(): pass\ndef main(): pass"
    ),
    "a registration": "from scaling.room.target import f\n@f\ndef h(): pass\ndef main(): pass",
    "a subclass that registers": (
        "from scaling.room.target import f\nclass C(f): pass\ndef main(): pass"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_definition_is_found_by(tmp_path: Path, way: str) -> None:
    files = {"work.py": WAYS[way], "room/target.py": TARGET}
    assert edited(write(tmp_path / "used", files), "room/target.py", "return 1", "return 11")
    assert not edited(write(tmp_path / "beside", files), "room/target.py", "return 0", "return 9")


# Names are followed no further: everything in the module counts, `g` too.
BEYOND = {
    "a star import": "from scaling.room.target import *\ndef main(): f()",
    "getattr": "from scaling.room import target\ndef main(name): getattr(target, name)()",
    "setattr": "from scaling.room import target\ndef main(): setattr(target, 'f', None)",
    "an attribute that is set": "from scaling.room import target\ndef main(): target.f = None",
    "a module as a value": "from scaling.room import target\ndef main(): print(target)",
    "a module under another name": "from scaling.room import target\nt = target\ndef main(): t.f()",
    "a name that is not there": "from scaling.room.target import h\ndef main(): h()",
    "a path as text": (
        "import importlib\ndef main(): importlib.import_module('scaling.room.target').f()"
    ),
    "a path as text for another process": "ARGS = ['-m', 'scaling.room.target']\ndef main(): ARGS",
    "a path that is put together": (
        "import importlib\ndef main(x): importlib.import_module(f'scaling.{x}').f()"
    ),
    "a module that hands it on": (
        "from scaling.room import shelf\ndef main(name): getattr(shelf, name)()"
    ),
    "a package as a value": "import scaling\ndef main(): vars(scaling)",
}


@pytest.mark.parametrize("way", BEYOND)
def test_the_whole_module_counts_where_names_cannot_be_followed(tmp_path: Path, way: str) -> None:
    shelf = "from scaling.room.target import g"
    files = {"work.py": BEYOND[way], "room/target.py": TARGET, "room/shelf.py": shelf}
    assert edited(write(tmp_path, files), "room/target.py", "return 0", "return 9")


def test_another_package_that_is_imported_by_its_path_counts_nothing_here(tmp_path: Path) -> None:
    door = "import importlib\ndef main(): importlib.import_module('math').f()"
    package = write(tmp_path, {"work.py": door, "room/target.py": TARGET})
    assert not edited(package, "room/target.py", "return 0", "return 9")


@pytest.mark.parametrize("call", ["globals()['g']()", "eval('g')()", "sys.modules[__name__].g()"])
def test_a_module_that_looks_itself_up_counts_whole(tmp_path: Path, call: str) -> None:
    door = f"import sys\ndef g(): return 0\ndef main(): {call}\n"
    assert edited(write(tmp_path, {"work.py": door}), "work.py", "return 0", "return 9")


def test_a_name_is_followed_through_the_modules_that_hand_it_on(tmp_path: Path) -> None:
    files = {
        "work.py": "from scaling.room import f\ndef main(): f()",
        "room/__init__.py": "from scaling.room.shelf import f",
        "room/shelf.py": "from .target import f\nBESIDE = 1",
        "room/target.py": TARGET,
    }
    package = write(tmp_path, files)
    assert not edited(package, "room/shelf.py", "BESIDE = 1", "BESIDE = 2")
    assert not edited(package, "room/target.py", "return 0", "return 9")
    assert edited(package, "room/target.py", "return 1", "return 11")
    assert edited(package, "room/shelf.py", "import f", "import g as f")


def test_two_names_that_swap_their_imports_change_the_digest(tmp_path: Path) -> None:
    door = "from scaling.room.target import f as x, g as y\ndef main(): x() - y()"
    package = write(tmp_path, {"work.py": door, "room/target.py": TARGET})
    assert edited(package, "work.py", "f as x, g as y", "g as x, f as y")


def test_a_local_variable_is_not_the_definition_of_the_same_name(tmp_path: Path) -> None:
    door = (
        "from scaling.room import target\ndef step(): return 0\n"
        "def main(step, target):\n    return [g for g in step] + [target.f]\n"
        "def g(): return 0.5\n"
    )
    files = {"work.py": door, "room/target.py": TARGET}
    assert not edited(write(tmp_path / "a", files), "work.py", "return 0\n", "return 9\n")
    assert not edited(write(tmp_path / "b", files), "work.py", "return 0.5", "return 9")
    assert not edited(write(tmp_path / "c", files), "room/target.py", "return 1", "return 9")


def test_a_local_variable_hides_a_definition_only_where_it_is_one(tmp_path: Path) -> None:
    door = "def f(): return 0\ndef main(): return [f for f in ()], f()"
    assert edited(write(tmp_path, {"work.py": door}), "work.py", "return 0", "return 9")


def test_a_name_for_type_checkers_is_not_followed(tmp_path: Path) -> None:
    door = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from scaling.room.target import f\nelse:\n    HERE = 1\n"
        "def main() -> 'f': return HERE"
    )
    package = write(tmp_path, {"work.py": door, "room/target.py": TARGET})
    assert not edited(package, "room/target.py", "return 1", "return 11")
    assert edited(package, "work.py", "HERE = 1", "HERE = 2")


def test_what_a_module_does_when_it_is_imported_counts_for_all_that_import_it(
    tmp_path: Path,
) -> None:
    files = {
        "work.py": "from scaling.room.target import f\ndef main(): f()",
        "room/target.py": "import scaling.room.far\nfrom scaling import near\n" + TARGET,
        "room/far.py": "import torch\ntorch.seed(1)\nUNUSED = 1",
        "near.py": "from scaling.room.far import UNUSED\ntable = {}\ntable['x'] = 2",
        "__init__.py": "import os\nos.environ['X'] = '3'",
        "room/__init__.py": "import os\nos.environ['Y'] = '4'",
    }
    package = write(tmp_path, files)
    assert edited(package, "room/far.py", "seed(1)", "seed(11)")
    assert edited(package, "near.py", "= 2", "= 22")
    assert edited(package, "__init__.py", "'3'", "'33'")
    assert edited(package, "room/__init__.py", "'4'", "'44'")
    assert not edited(package, "room/far.py", "UNUSED = 1", "UNUSED = 11")


@pytest.mark.parametrize(
    "door",
    [
        "import scaling.room.far\ndef main(): pass",
        "def main():\n    import scaling.room.far",
        "def main():\n    from scaling.room import far",
        "def main():\n    from scaling.room.far import UNUSED",
    ],
)
def test_a_module_may_be_imported_for_what_that_does(tmp_path: Path, door: str) -> None:
    files = {"work.py": door, "room/far.py": "import torch\ntorch.seed(1)\nUNUSED = 1"}
    assert edited(write(tmp_path, files), "room/far.py", "seed(1)", "seed(11)")


def test_a_conditional_definition_does_not_count_its_module_whole(tmp_path: Path) -> None:
    files = {
        "work.py": "from scaling.room.far import h, X\ndef main(): h(X)",
        "room/far.py": "if input:\n    def h(): pass\n    X = 1\ndef g(): return 0",
    }
    package = write(tmp_path, files)
    assert not edited(package, "room/far.py", "return 0", "return 9")
    assert edited(package, "room/far.py", "pass", "return 7")


def test_it_does_not_matter_which_module_that_is_left_out_has_a_helper(tmp_path: Path) -> None:
    door = "from scaling.record import write\nfrom scaling import errors\ndef main(): write(errors)"
    files = {"work.py": door, "record.py": "def write(): pass", "errors.py": "write = 1"}
    assert not edited(write(tmp_path, files), "work.py", "scaling.record", "scaling.errors")


def test_a_template_counts_for_those_that_import_its_room(tmp_path: Path) -> None:
    files = {"room/templates/page.html": "<p>", "room/README.md": "a room", "room/.page.swp": "x"}
    package = write(tmp_path, files)
    assert edited(package, "room/templates/page.html", "<p>", "<div>")
    assert not edited(package, "room/README.md", "a room", "the room")
    assert not edited(package, "room/.page.swp", "x", "y")
    write(tmp_path, {"elsewhere/__init__.py": "", "elsewhere/page.html": "<p>"})
    assert not edited(package, "elsewhere/page.html", "<p>", "<div>")


def test_modules_that_import_each_other_are_followed_once(tmp_path: Path) -> None:
    files = {
        "work.py": "from scaling.room import one\ndef main(): one.f()",
        "room/__init__.py": "from . import one, two",
        "room/one.py": "from scaling.room import two\nfrom .two import h\ndef f(): two.g(), h\n",
        "room/two.py": "from scaling.room import one\nfrom .one import h\ndef g(): return one.f, 1",
    }
    assert edited(write(tmp_path, files), "room/two.py", "one.f, 1", "one.f, 2")


def test_a_room_without_an_init_file_is_followed(tmp_path: Path) -> None:
    files = {"work.py": "from scaling.bare import m\ndef main(): m.f()", "bare/m.py": TARGET}
    assert edited(write(tmp_path, files), "bare/m.py", "return 1", "return 11")


def test_a_definition_can_be_an_entry_point(tmp_path: Path) -> None:
    package = write(tmp_path, {"room/target.py": TARGET})
    assert set(reached("room.target:f", package)) == {"", "room", "room.target", "room.target:f"}
    digest = code_digest("room.target:f", package)
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert digest != code_digest("room.target:g", package)


def test_every_process_gives_the_same_digest() -> None:
    command = "from scaling.digest import code_digest; print(code_digest('train'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert said == {f"{code_digest('train')}\n"}


@pytest.mark.parametrize("entry", ["nowhere", "room.tools", "room.tools:nothing"])
def test_an_entry_point_that_is_not_there_is_an_error(tmp_path: Path, entry: str) -> None:
    with pytest.raises(LookupError, match="defines no"):
        code_digest(entry, write(tmp_path, {}))


FAMILY = "def build(): return {n}\ndef embedding(): 0\ndef multiply_adds(): 0\ndef other(): 1"
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


def test_a_family_changes_no_digest_where_no_network_is_built(tmp_path: Path) -> None:
    package = write(tmp_path, FAMILIES_ROOM | {"work.py": "def main(): 1"})
    assert not edited(package, "training/families/one.py", "return 1", "return 11")


# --- the library itself ------------------------------------------------------------------------


def entries() -> dict[str, str]:
    """Every rule's entry point, as the rules write it."""
    found = {"baselines": "judge_baselines"}  # through a function in common.smk
    for path in sorted(Path("workflow/rules").glob("*.smk")):
        parts = re.split(r"^(?:rule|checkpoint) (\w+):$", path.read_text(), flags=re.M)
        for rule, body in zip(parts[1::2], parts[2::2], strict=True):
            if named := re.search(r'identity\([^"]*"([\w.:]+)"', body):
                found[rule] = named[1]
    return found


RULES = entries()
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_every_rule_with_a_command_has_an_entry_point() -> None:
    rules = re.findall(
        r"^(?:rule|checkpoint) (\w+):$",
        "".join(path.read_text() for path in Path("workflow/rules").glob("*.smk")),
        re.M,
    )
    assert set(RULES) == set(rules)


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("tiers/a20.py", "talib.ATR(", "talib.NATR(", {"a20"}),
        ("tiers/a20.py", '    "adx_14",\n    "bollinger_b_20_2",\n', "", {"a20", "mine"}),
        ("tiers/c14.py", "ROWS_DROPPED = max", "ROWS_DROPPED = 1 + max", {"c14"}),
        ("tiers/c14.py", 'NEEDS = ("close",)', 'NEEDS = ("close", "volume")', set()),
        ("indicators.py", "close / average - 1", "average / close - 1", {"a20", "c14", "mine"}),
        ("indicators.py", "talib.STDDEV(returns, 20)", "talib.STDDEV(returns, 21)", {"c14"}),
        (
            "features.py",
            "_refuse_undefined(features)\n    return",
            "return",
            {"a20", "c14", "mine"},
        ),
    ],
)
def test_the_features_of_a_tier_depend_on_its_own_code_and_what_it_imports(
    tmp_path: Path, name: str, old: str, new: str, changed: set[str]
) -> None:
    package = tmp_path / "scaling"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
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
    tiers = ("a20", "c14", "mine")
    before = {tier: features_digest(tier, package) for tier in tiers}
    code_digest.cache_clear()
    path.write_text(text.replace(old, new))
    after = {tier: features_digest(tier, package) for tier in tiers}
    code_digest.cache_clear()
    follows = {"mine"} if name == "tiers/a20.py" and changed else set()
    assert {tier for tier in tiers if before[tier] != after[tier]} == changed | follows


def test_one_more_tier_makes_nothing_again(tmp_path: Path) -> None:
    package = tmp_path / "scaling"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = {rule: reached(entry, package) for rule, entry in RULES.items()}
    shutil.copy(package / "data/tiers/c14.py", package / "data/tiers/mine.py")
    assert {rule: reached(entry, package) for rule, entry in RULES.items()} == before


def test_what_counts_of_a_family_is_all_that_a_family_gives() -> None:
    functions = {name for name in vars(Family) if not name.startswith("_")}
    assert functions == set(GIVEN_BY_A_FAMILY)


def test_what_is_left_out_is_there() -> None:
    for name in LEFT_OUT:
        path = PACKAGE.joinpath(*name.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


ADDITIONS = {
    "a comment": "\n# a comment\n",
    "an unused function": (
        '\n\ndef unused_until_now(x: int = 3) -> int:\n    """Nobody calls it."""\n    return x\n'
    ),
    "an unused class": "\n\nclass UnusedUntilNow(dict[str, int]):\n    size: int = 3\n",
    "an unused constant": "\n\nUNUSED_UNTIL_NOW = {'x': 3}\n",
}
TRAINED = {"train", "sweep", "shuffled_control"}
# A line of the library, another in its place, and by hand: the rules whose own code that is. What
# follows from their outputs is Snakemake's to find.
CHANGES = {
    ("betas=(0.9, 0.95)", "betas=(0.9, 0.96)"): TRAINED,
    ("future.max(axis=1) >= close[", "future.max(axis=1) > close["): {
        *TRAINED,
        "evaluate",
        "baselines",
    },
    ('head_aggregation="avg_pool"', 'head_aggregation="use_last"'): {
        *TRAINED,
        "find_batch_size",
        "evaluate",
    },
    ('pooling_type="mean"', 'pooling_type="max"'): {*TRAINED, "find_batch_size", "evaluate"},
    ("torch.sigmoid(logits)", "torch.tanh(logits)"): {*TRAINED, "evaluate"},
    ("LogisticRegression(C=penalty", "LogisticRegression(C=2 * penalty"): {"baselines"},
    ("SMALLEST_LOGIT_SPREAD = 0.05", "SMALLEST_LOGIT_SPREAD = 0.06"): {"evaluate"},
    ("PERMUTATIONS = 5", "PERMUTATIONS = 6"): {"shuffled_control"},
    ("FACTORS = (2.0,", "FACTORS = (3.0,"): {"sweep"},
    ('"svg.hashsalt"', '"svg.salt"'): {"report"},
}


Rebuilt = Callable[[dict[Path, str]], dict[str, list[str]]]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Rebuilt:
    """Gives modules of a copied library other texts, and says which rules would run again.

    Each comes with the places whose code is another for it.
    """
    folder = tmp_path_factory.mktemp("library") / "scaling"
    shutil.copytree(PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = {rule: reached(entry, folder) for rule, entry in RULES.items()}

    def after(texts: dict[Path, str]) -> dict[str, list[str]]:
        originals = {module: (folder / module).read_text() for module in texts}
        found = {}
        for module, text in texts.items():
            assert text != originals[module]
            (folder / module).write_text(text)
        for rule, entry in RULES.items():
            now = reached(entry, folder)
            places = before[rule].keys() | now.keys()
            found[rule] = sorted(p for p in places if now.get(p) != before[rule].get(p))
        for module, text in originals.items():
            (folder / module).write_text(text)
        return {rule: places for rule, places in found.items() if places}

    return after


def row(change: str, rules: Iterable[str]) -> None:
    """A line of the table that `pytest -s` shows."""
    print(f"\n{change:42} {' '.join(sorted(rules)) or 'nothing'}", end="")


@pytest.mark.parametrize(("what", "added"), ADDITIONS.items(), ids=ADDITIONS)
def test_an_addition_to_every_module_rebuilds_nothing(
    what: str, added: str, rebuilt: Rebuilt
) -> None:
    found = rebuilt({module: (PACKAGE / module).read_text() + added for module in MODULES})
    row(f"{what} in all {len(MODULES)} modules", found)
    assert found == {}


def test_what_is_left_out_rebuilds_nothing_whatever_it_does(rebuilt: Rebuilt) -> None:
    modules = [m for m in MODULES if ".".join(m.with_suffix("").parts).startswith(LEFT_OUT)]
    assert len(modules) >= len(LEFT_OUT)
    found = rebuilt({m: (PACKAGE / m).read_text() + "\n\nprint('run')\n" for m in modules})
    row(f"a side effect in {len(modules)} that are left out", found)
    assert found == {}


def test_a_side_effect_in_any_other_module_rebuilds_what_imports_it(rebuilt: Rebuilt) -> None:
    found = rebuilt({Path("metrics.py"): (PACKAGE / "metrics.py").read_text() + "\nprint()\n"})
    row("a side effect in metrics.py", found)
    assert set(found) == {*TRAINED, "evaluate", "baselines", "fit_law", "report"}


@pytest.mark.parametrize("change", CHANGES, ids=[old for old, _ in CHANGES])
def test_a_real_change_rebuilds_what_depends_on_it_and_nothing_else(
    change: tuple[str, str], rebuilt: Rebuilt
) -> None:
    texts = {module: (PACKAGE / module).read_text() for module in MODULES}
    holding = [module for module, text in texts.items() if change[0] in text]
    assert len(holding) == 1, f"{change[0]!r} stands in {holding}"
    found = rebuilt({holding[0]: texts[holding[0]].replace(*change)})
    row(change[0], found)
    assert set(found) == CHANGES[change]
