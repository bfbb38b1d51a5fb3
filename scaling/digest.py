"""Digests of the code that an entry point can reach, and of no other.

Snakemake does not see edits in a library. A rule with a `code_digest` in its `params` runs again
when code has changed that its command can reach. Reach goes by name: each word in code that counts
is looked up in its module and in the modules that it names, and what has that name there counts
too. Importing a module runs it, so what does more than define something counts for all who import
it. Words mean several things, so this errs on rebuilding. Comments and docstrings do not count.
"""

import ast
import functools
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
# Rooms and modules that are not followed, because they compute no number of a study: they track and
# watch a run, write files and explain errors. `config` and its parts are among them, as the values
# that count stand in the `params` of the rules themselves.
LEFT_OUT = (
    *("tracking.", "machine.guard.", "machine.sensors.", "machine.signals."),
    *("config.", "digest.", "errors.", "grid.", "identities.", "names.", "reading.", "record."),
    *("run.", "sizes.", "splits."),
)
# Families of networks are modules in this room, of which others call these functions.
NETWORKS = "training.families"
GIVEN_BY_A_FAMILY = ("BASE", "build", "embedding", "multiply_adds", "transfer")
# Files in a room count for whoever imports it: a template, its style, a caption, a table.
READ_BY_CODE = (".css", ".csv", ".html", ".js", ".json", ".rst", ".svg", ".txt", ".yaml")
Import = ast.Import | ast.ImportFrom
Code = dict[str, list[ast.stmt]]  # the statements of a module by the names that they give


@functools.cache
def code_digest(entry: str, package: Path = PACKAGE, *, family: str | None = None) -> str:
    """16 hex digits of all code that `entry` can reach; equal code gives equal digits.

    `entry` is a module with a `main`, such as "train", or names another definition in it, as
    "data.features:build_features" does; `LookupError` if there is none. Where it builds a network,
    the code of its `family` counts, or that of all families.
    """
    text = json.dumps(reached(entry, package, family), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def features_digest(tier: str, package: Path = PACKAGE) -> str:
    """16 hex digits of all code that builds the features of a tier; other tiers do not count."""
    own = (f"data.tiers.{tier}:{name}" for name in ("FEATURE_NAMES", "ROWS_DROPPED", "build"))
    digests = [code_digest(entry, package) for entry in ("data.features:build_features", *own)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def reached(entry: str, package: Path = PACKAGE, family: str | None = None) -> dict[str, list[str]]:
    """By "module:name" what gives a name, by "module:" what does more, by "room/file" its MD5."""
    module, _, name = entry.partition(":")
    walk = _Walk(package)
    walk.follow(module, name or "main")
    if f"{NETWORKS}:family_of" in walk.found:
        families = package.joinpath(*NETWORKS.split(".")).glob("[!_]*.py")
        for member in [family] if family else sorted(path.stem for path in families):
            for given in GIVEN_BY_A_FAMILY:
                walk.follow(f"{NETWORKS}.{member}", given)
    return walk.found


@dataclass
class _Walk:
    """Follows names; a module goes by its path in the package, such as "data.prices"."""

    package: Path
    modules: dict[str, Code] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)
    waiting: list[tuple[str, ast.stmt]] = field(default_factory=list)

    def follow(self, module: str, name: str) -> None:
        """Meet all that the definition `name` of `module` can reach."""
        if name not in self.run(module):
            raise LookupError(f"{self.package}: {module} defines no {name}")
        self.meet(module, name)
        while self.waiting:
            module, statement = self.waiting.pop()
            if "globals()" in uses(statement).text:
                for name in self.run(module):
                    self.meet(module, name)
            places = [module, *self.imported(statement)]
            for place in places:  # it grows on the way
                for name in self.run(place).keys() & uses(statement).words:
                    self.meet(place, name)
                    for one in self.modules[place][name]:
                        if isinstance(one, Import):
                            places += self.imported(one).difference(places)

    def run(self, module: str) -> Code:
        """The code of a module, none if it is left out. What importing it runs is met."""
        if module in self.modules or f"{module}.".startswith(LEFT_OUT):
            return self.modules.get(module, {})
        stem = self.package.joinpath(*module.split("."))
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        code = self.modules[module] = parsed(path.read_text()) if path.is_file() else {}
        if not code:
            return code
        self.run(module.rpartition(".")[0])
        self.meet(module, "")
        for statement in code["*"]:
            self.imported(statement)
        for file in stem.rglob("*") if module else ():
            if file.suffix in READ_BY_CODE:
                md5 = hashlib.md5(file.read_bytes()).hexdigest()
                self.found[file.relative_to(self.package).as_posix()] = [md5]
        return code

    def imported(self, statement: ast.stmt) -> set[str]:
        """The modules of this package that a statement imports; they are run."""
        paths = {one for path in uses(statement).paths for one in (path, path.rpartition(".")[0])}
        ours = {path.partition(".")[2] for path in paths if path.split(".")[0] == "scaling"}
        return {module for module in ours if self.run(module)}

    def meet(self, module: str, name: str) -> None:
        """Count what gives a name in a module, and follow it later."""
        if f"{module}:{name}" not in self.found:
            self.found[f"{module}:{name}"] = [uses(one).text for one in self.modules[module][name]]
            self.waiting += [(module, one) for one in self.modules[module][name]]


@functools.cache
def parsed(source: str) -> Code:
    """The statements of a module by the names they give; by "" what does more, by "*" imports."""
    tree, code = ast.parse(source), Code({"": [], "*": []})
    for part in [tree, *statements(tree)]:
        if isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef):
            part.body = part.body[ast.get_docstring(part, clean=False) is not None :]
    for node in tree.body:
        for alias in node.names if isinstance(node, Import) else ():  # each for itself
            one = type(node)(**{**vars(node), "names": [alias]})
            for name in [alias.asname] if alias.asname else alias.name.split("."):
                code.setdefault(name, []).append(one)
            code["*"].append(one)
        for name in given(node):
            code.setdefault(name, []).append(node)
    return code


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements in one, and what holds some of its own; not what they compute."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.stmt | ast.excepthandler | ast.match_case):
            yield part
            yield from statements(part)


def given(node: ast.stmt) -> list[str]:
    """The names that a statement gives, and "" if running it may do more: it calls something."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.If(ast.Name("TYPE_CHECKING"), orelse=[]):
            return []
        case ast.FunctionDef(name, decorator_list=[]) if not calls(node.args):
            return [name]
        case ast.Assign([ast.Name(name)]) | ast.AnnAssign(ast.Name(name)):
            return [name, ""] if calls(node) else [name]
    return [node.name, ""] if isinstance(node, ast.FunctionDef | ast.ClassDef) else [""]


def calls(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


class Uses(NamedTuple):
    """What a statement says."""

    text: str
    words: set[str]
    paths: set[str]
    """The dotted paths of what it imports."""


@functools.cache
def uses(statement: ast.stmt) -> Uses:
    """A statement's text, words and imports, as plans ask for each of them many times."""
    text, paths = ast.unparse(statement), set[str]()
    for part in ast.walk(statement) if "import" in text else ():
        if isinstance(part, ast.Import | ast.ImportFrom):
            room = f"{part.module}." if isinstance(part, ast.ImportFrom) else ""
            paths |= {room + alias.name for alias in part.names}
    return Uses(text, set(re.findall(r"\w+", text)), paths)
