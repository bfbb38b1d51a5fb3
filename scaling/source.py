"""What a module defines, imports and uses, and what importing it does: parsed, never run."""

import ast
import functools
import symtable
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Calls and decorators that only make a value. All others may do something that is felt elsewhere.
HARMLESS = frozenset(
    (
        *("dict", "float", "frozenset", "int", "len", "list", "set", "str", "tuple"),
        *("max", "min", "range", "sorted", "sum", "zip"),
        *("NewType", "Path", "TypeVar", "ZoneInfo", "np.finfo", "re.compile", "timedelta"),
        *("contextmanager", "contextlib.contextmanager", "cache", "functools.cache"),
        *("dataclass", "dataclasses.dataclass", "dataclasses.field", "field"),
        *("abstractmethod", "classmethod", "functools.cached_property", "property", "staticmethod"),
        *("torch.inference_mode", "torch.no_grad"),
    )
)
# They import a module whose name may not stand in the source.
IMPORTERS = frozenset(("import_module", "__import__", "run_module", "exec_module"))
# They reach names of their own module that may not stand in the source.
OPAQUE = frozenset(("globals", "eval", "exec", "__name__"))

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Target(NamedTuple):
    """What an import binds a name to: a module by its dotted path, or an attribute of it."""

    module: str
    attributes: tuple[str, ...] = ()


Imports = dict[str, list[Target]]


class Statement:
    """One top-level statement of a module, and the names that it uses.

    `package` is the dotted path that its relative imports start from.
    """

    def __init__(self, node: ast.stmt, package: str) -> None:
        self.node, self.package = node, package

    @functools.cached_property
    def text(self) -> str:
        """The source without comments and docstrings."""
        return ast.unparse(_without_docstrings(self.node))

    @functools.cached_property
    def imports(self) -> Imports:
        """The imports inside the statement, by the names that they bind."""
        found: Imports = {}
        for node in ast.walk(self.node):
            for name, target in _imported_by(node, self.package):
                found.setdefault(name, []).append(target)
        return found

    @functools.cached_property
    def bound(self) -> set[str]:
        """The names that the statement gives to its module, those of imports aside."""
        if isinstance(self.node, Definition):
            return {self.node.name}
        names = set()
        for node in ast.walk(self.node):
            if isinstance(node, Definition):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
        return names

    @functools.cached_property
    def outer(self) -> set[str]:
        """The names that it takes from its module, and no local variable of the same name."""
        return set(_outer_names(symtable.symtable(self.text, "<statement>", "exec")))

    @functools.cached_property
    def chains(self) -> list[tuple[str, ...]]:
        """Outer and imported names with what is asked of them: `np.linalg.norm(x)` gives
        (np, linalg, norm) and (x,).
        """
        visitor = _Chains()
        visitor.visit(self.node)
        return sorted(c for c in visitor.found if c[0] in self.outer or c[0] in self.imports)

    @functools.cached_property
    def strings(self) -> set[str]:
        """Its text constants, one of which may be the dotted path of a module."""
        values = (node.value for node in ast.walk(self.node) if isinstance(node, ast.Constant))
        return {value for value in values if isinstance(value, str)}

    @property
    def is_opaque(self) -> bool:
        """Whether it may use names of its module that do not stand in it."""
        return bool(OPAQUE & self.outer) and "logging.getLogger(__name__)" not in self.text

    @functools.cached_property
    def imports_anything(self) -> bool:
        """Whether it imports a module whose path does not stand in it."""
        told = {
            node.func
            for node in ast.walk(self.node)
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        }
        return any(
            isinstance(node, ast.Name | ast.Attribute)
            and (node.id if isinstance(node, ast.Name) else node.attr) in IMPORTERS
            and node not in told
            for node in ast.walk(self.node)
        )

    def has_effects(self, ours: set[str]) -> bool:
        """Whether importing the statement's module may do more than give values to names.

        `ours` are names of this package: its classes may register those that inherit from them.
        """
        node = self.node
        if isinstance(node, ast.ClassDef):
            if node.keywords or any(_root(base) in ours for base in node.bases):
                return True
            if any(Statement(part, self.package).has_effects(ours) for part in node.body):
                return True
        elif isinstance(node, ast.Expr):
            return not isinstance(node.value, ast.Constant)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Attribute | ast.Subscript))
            if any(isinstance(n.ctx, ast.Store) for n in stored):
                return True
        elif not isinstance(node, Definition | ast.Pass):
            return True
        return any(
            ast.unparse(called) not in HARMLESS or _root(called) in ours
            for called in _called_on_import(node)
        )


class Module(NamedTuple):
    """A parsed module.

    `definitions` and `imports` go by name. A name that is bound in an `if` or a `try` is defined
    by that whole statement. `effects` are the statements that importing the module runs for more
    than a name's value.
    """

    definitions: dict[str, list[Statement]]
    imports: Imports
    effects: list[Statement]


@functools.cache
def parse(source: str, package: str) -> Module:
    """Sort the statements of a module in `package`; each source is parsed once in a process."""
    found = Module({}, {}, [])
    for node in _executed(ast.parse(source).body):
        statement = Statement(node, package)
        if not isinstance(node, Definition):
            for name, targets in statement.imports.items():
                found.imports.setdefault(name, []).extend(targets)
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        root = package.partition(".")[0]
        ours = {name for name, to in found.imports.items() if to[0].module.split(".")[0] == root}
        if statement.has_effects(ours | found.definitions.keys()):
            found.effects.append(statement)
        for name in statement.bound:
            found.definitions.setdefault(name, []).append(statement)
    return found


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements; of `if TYPE_CHECKING` and `if __name__ == "__main__"` what they run."""
    for node in body:
        test = ast.unparse(node.test) if isinstance(node, ast.If) else ""
        if isinstance(node, ast.If) and test in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _executed(node.orelse)
        elif isinstance(node, ast.If) and test == "__name__ == '__main__'":
            yield from _executed(node.body)
        else:
            yield node


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    """The same statement; its docstrings are taken out in place."""
    for part in ast.walk(node):
        if isinstance(part, Definition) and ast.get_docstring(part, clean=False) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return node


def _imported_by(node: ast.AST, package: str) -> Iterator[tuple[str, Target]]:
    """The names that an import binds, and what to; `import a.b` binds `a`."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            first = alias.name.partition(".")[0]
            yield alias.asname or first, Target(alias.name if alias.asname else first)
            if not alias.asname and first != alias.name:
                yield f"{alias.name} (run)", Target(alias.name)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
        start = parents if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        for alias in node.names:
            yield alias.asname or alias.name, Target(module, (alias.name,))


def _called_on_import(node: ast.AST) -> Iterator[ast.expr]:
    """What running a statement calls: in its values, defaults and base classes, and decorators."""
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, Definition):
        for decorator in node.decorator_list:
            yield decorator.func if isinstance(decorator, ast.Call) else decorator
        parts = [part for call in node.decorator_list for part in ast.iter_child_nodes(call)]
        parts += node.bases if isinstance(node, ast.ClassDef) else [node.args]
    elif isinstance(node, ast.Lambda):
        parts = [node.args]
    elif isinstance(node, ast.Call):
        yield node.func
    elif isinstance(node, ast.arg):
        parts = []  # an annotation: a type
    for part in parts:
        yield from _called_on_import(part)


def _root(node: ast.expr) -> str:
    """The name that an expression starts with: `registry` of `registry.add("x")`."""
    return next((n.id for n in ast.walk(node) if isinstance(n, ast.Name)), "")


def _outer_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Referenced names that no function of the statement binds, by the compiler's own tables."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() != "function" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _outer_names(child)


class _Chains(ast.NodeVisitor):
    """Collects names, each with the attributes that are read from it in one expression."""

    def __init__(self) -> None:
        self.found: set[tuple[str, ...]] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.found.add((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        attributes, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            attributes.append(base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            self.visit(base)
        elif isinstance(node.ctx, ast.Load):
            self.found.add((base.id, *reversed(attributes)))
        else:  # setting an attribute may change anything that the rest stands for
            self.found.add((base.id, *reversed(attributes[1:])))
