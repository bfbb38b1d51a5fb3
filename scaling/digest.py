"""Digests of code by definition: what an entry point can reach, and nothing else.

Snakemake does not see edits in a library. A rule that carries `code_digest` in its `params` runs
again when a definition that its command depends on has changed. Names are followed from the entry
point through all imports to functions, classes (with all their methods) and module constants. A
definition that is not reached changes no digest. A comment or a docstring changes none either.

Importing a module runs it, so its statements with side effects count for all that import it.
Where names cannot be followed, the whole module counts: doubt errs on rebuilding.
"""

import functools
import hashlib
import json
from pathlib import Path

from scaling.source import Imports, Module, Statement, Target, parse

PACKAGE = Path(__file__).parent

# Rooms and modules that are followed only from an entry point inside them. Most compute no number
# of a study: they track and watch a run, write files and explain errors. `config` and `sizes` are
# among them because the values that count stand in the `params` of the rules themselves, and the
# tiers of features because one more tier changes nothing for the others: what a tier gives is known
# by the MD5 of its features.
LEFT_OUT = (
    *("tracking", "machine.guard", "machine.heat", "machine.sensors", "machine.signals"),
    *("config", "grid", "names", "run", "sizes"),
    *("data.tiers", "digest", "errors", "reading", "record", "source"),
)
# The families of networks are looked up by name, where no import can be followed. A family is a
# module in this room, and what others call of it are these functions.
FAMILIES = "training.families"
GIVEN_BY_A_FAMILY = ("build", "embedding", "multiply_adds")
# Files in a room that its code reads: a template, its style, a caption, a table.
READ_BY_CODE = (".css", ".csv", ".html", ".js", ".json", ".rst", ".svg", ".txt", ".yaml")


@functools.cache
def code_digest(entry: str, package: Path = PACKAGE, *, family: str | None = None) -> str:
    """16 hex digits of all code that `entry` can reach; equal code gives equal digits.

    `entry` is a module with a `main`, such as "train", or a module and the name of a definition,
    such as "data.features:build_features". Raises `LookupError` if there is no such definition.
    For an entry that builds a network, only the code of its `family` counts. Without a name the
    code of all families does.
    """
    text = json.dumps(reached(entry, package, family), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def features_digest(tier: str, package: Path = PACKAGE) -> str:
    """16 hex digits of all code that builds the features of a tier; other tiers do not count."""
    own = (f"data.tiers.{tier}:{name}" for name in ("FEATURE_NAMES", "ROWS_DROPPED", "build"))
    digests = [code_digest(entry, package) for entry in ("data.features:build_features", *own)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def reached(entry: str, package: Path = PACKAGE, family: str | None = None) -> dict[str, list[str]]:
    """The code behind a digest, by the place where it stands.

    "module:name" has the definitions of that name, "module:name is" what an import makes of it,
    "module" the statements with side effects, and "room/file" the MD5 of a template or style.
    """
    module, _, name = entry.partition(":")
    walk = _Walk(package)
    walk.enter(module, name or "main")
    if f"{FAMILIES}:family_of" in walk.found:
        for member in [family] if family else _families(package):
            for given in GIVEN_BY_A_FAMILY:
                walk.enter(f"{FAMILIES}.{member}", given)
    return walk.found


class _Walk:
    """Follows names from one entry point; `found` is what it meets on the way.

    A module is named by its path inside the package: "data.prices", and "" for the package itself.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        self._left_out: tuple[str, ...] = LEFT_OUT
        self.found: dict[str, list[str]] = {}
        self._modules: dict[str, Module | None] = {}
        self._waiting: list[tuple[str, Statement]] = []
        self._followed: set[Target] = set()
        self._whole: set[str] = set()

    def enter(self, module: str, name: str) -> None:
        """Follow everything that the definition `name` of `module` can reach."""
        self._left_out = tuple(name for name in LEFT_OUT if not _lies_in(module, name))
        if not self._look_up(module, (name,)):
            raise LookupError(f"{self.package}: {module} defines no {name}")
        while self._waiting:
            self._use(*self._waiting.pop())

    def _use(self, module: str, statement: Statement) -> None:
        """Follow all names that a statement of `module` uses."""
        self._import(statement.imports)
        for name, *attributes in statement.chains:
            for target in statement.imports.get(name, ()):
                self._follow(Target(target.module, (*target.attributes, *attributes)))
            self._look_up(module, (name, *attributes))
        if statement.is_opaque:
            self._count_whole(module)
        if statement.imports_anything:
            self._count_whole("")
        for text in statement.strings:
            named = self._inside(text)
            if named and self._file(named):
                self._count_whole(named)

    def _look_up(self, module: str, chain: tuple[str, ...]) -> bool:
        """Meet what a name in `module` stands for; False if it neither defines nor imports it."""
        parsed = self._run(module)
        if parsed is None:
            return False
        name, *attributes = chain
        if name in parsed.definitions:
            self._meet(f"{module}:{name}", module, parsed.definitions[name])
        own = Target(self._dotted(module), (name,))  # `from . import name`: a module of this room
        targets = [target for target in parsed.imports.get(name, ()) if target != own]
        for target in targets:
            meaning = ".".join((target.module, *target.attributes))
            if not self._is_left_out(self._inside(meaning) or ""):
                said = self.found.setdefault(f"{module}:{name} is", [])
                said += {meaning}.difference(said)
            self._follow(Target(target.module, (*target.attributes, *attributes)))
        return name in parsed.definitions or bool(targets)

    def _follow(self, target: Target) -> None:
        """Meet what a module or an attribute of it stands for; nothing in other packages."""
        module = self._inside(target.module)
        if module is None or target in self._followed or self._run(module) is None:
            return
        self._followed.add(target)
        if not target.attributes:
            self._count_whole(module)  # the module itself is a value: anything may be asked of it
        elif not self._look_up(module, target.attributes):
            first, *attributes = target.attributes
            if self._file(f"{module}.{first}".lstrip(".")):
                self._follow(Target(f"{target.module}.{first}", tuple(attributes)))
            else:
                self._count_whole(module)

    def _count_whole(self, module: str) -> None:
        """Meet everything in a module, and in the modules of a room."""
        path, parsed = self._file(module), self._run(module)
        if module in self._whole or path is None or parsed is None:
            return
        self._whole.add(module)
        for name in (*parsed.definitions, *parsed.imports):
            self._look_up(module, (name,))
        if _is_room(path):
            for child in sorted(self.package.joinpath(*module.split(".")).iterdir()):
                if (child.suffix == ".py" or child.is_dir()) and not child.name.startswith("__"):
                    self._count_whole(f"{module}.{child.stem}".lstrip("."))

    def _run(self, module: str) -> Module | None:
        """Meet what importing `module` runs; None if it is left out or does not exist."""
        if module in self._modules:
            return self._modules[module]
        path = self._file(module)
        if path is None or self._is_left_out(module):
            self._modules[module] = None
            return None
        room = module if _is_room(path) else module.rpartition(".")[0]
        source = path.read_text() if path.is_file() else ""
        parsed = self._modules[module] = parse(source, self._dotted(room))
        self._meet(module, module, parsed.effects)
        self._run(module.rpartition(".")[0])
        self._meet_files_read(path.parent)
        self._import(parsed.imports)
        return parsed

    def _import(self, imports: Imports) -> None:
        """Importing a name runs its module, and the name may be another module."""
        for target in (target for targets in imports.values() for target in targets):
            module = self._inside(target.module)
            if module is not None:
                self._run(module)
                if target.attributes == ("*",):
                    self._count_whole(module)
                elif target.attributes:
                    self._run(".".join((module, *target.attributes)).lstrip("."))

    def _meet(self, key: str, module: str, statements: list[Statement]) -> None:
        if key not in self.found:
            self.found[key] = [statement.text for statement in statements]
            self._waiting += [(module, statement) for statement in statements]

    def _meet_files_read(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.suffix in READ_BY_CODE:
                key = path.relative_to(self.package).as_posix()
                self.found[key] = [hashlib.md5(path.read_bytes()).hexdigest()]
            elif path.is_dir() and not (path / "__init__.py").exists():
                self._meet_files_read(path)

    def _is_left_out(self, module: str) -> bool:
        return any(_lies_in(module, name) for name in self._left_out)

    def _file(self, module: str) -> Path | None:
        """The source of a module; of a room its `__init__.py`, or its folder where it has none."""
        stem = self.package.joinpath(*module.split("."))
        files = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"), stem)
        return next((path for path in files if path.exists()), None)

    def _dotted(self, module: str) -> str:
        return f"{self.package.name}.{module}".rstrip(".")

    def _inside(self, dotted: str) -> str | None:
        """`scaling.data.prices` -> `data.prices`; None for what is not of this package."""
        root, _, module = dotted.partition(".")
        return module if root == self.package.name else None


def _families(package: Path) -> list[str]:
    paths = package.joinpath(*FAMILIES.split(".")).glob("*.py")
    return sorted(path.stem for path in paths if path.stem != "__init__")


def _is_room(path: Path) -> bool:
    return path.name == "__init__.py" or path.is_dir()


def _lies_in(module: str, room: str) -> bool:
    return f"{module}.".startswith(f"{room}.")
