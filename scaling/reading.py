"""YAML files read strictly, and every mistake in them explained on one line."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from scaling.errors import UserError

CLOSED = ConfigDict(extra="forbid")
# Values are checked strictly: otherwise pydantic takes the text "3e-4" for a number, and yes for 1.
Integer = Annotated[int, Field(strict=True)]
Positive = Annotated[Integer, Field(gt=0)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Seed = Annotated[Integer, Field(ge=0, lt=2**32)]
T = TypeVar("T")
NO_ORIGINS: Mapping[str, Path] = {}


class _UniqueKeyLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a key that stands twice; SafeLoader itself keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise UserError(
                    f"{self.name}:{key_node.start_mark.line + 1}: key `{key}` stands twice; "
                    "keep one of them"
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Parse one YAML mapping; a duplicate key and a syntax error are a `UserError`."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file{_nearby(path)}")
    try:
        with path.open("rb") as stream:  # PyYAML decodes it, with a YAMLError for what is no text
            content = yaml.load(stream, _UniqueKeyLoader)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError) as error:  # of a syntax, a value or a key
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, must hold `key: value` lines")
    return content


def read_extended(
    path: Path, root: Path, either: Collection[str] = (), before: tuple[Path, ...] = ()
) -> tuple[dict[str, Any], dict[str, Path]]:
    """One YAML mapping together with the file that it extends, and where inherited keys stand.

    `extends: daily/threshold_1pct.yaml` names a file below `root`, which may extend another one.
    Sections are joined key by key. A key of `either` takes the place of the others of them that are
    inherited. The second value maps the dotted keys that come from such files to their file. Raises
    `UserError` for a file that there is not, for a circle with those `before`, and for a key that
    says what it would be anyway.
    """
    content = read_yaml(path)
    if (base := content.pop("extends", None)) is None:
        return content, {}
    if not isinstance(base, str) or not (root / base).is_file():
        raise UserError(
            f"{path}: extends: got {base!r}; allowed: a file below {root}, for example "
            f"daily/threshold_1pct.yaml{_nearby(root / str(base))}"
        )
    chain = (*before, path)
    if (root / base).resolve() in [file.resolve() for file in chain]:
        circle = " extends ".join(map(str, (*chain, root / base)))
        raise UserError(f"{path}: extends: {circle}: a circle; remove one of these lines")
    inherited, origins = read_extended(root / base, root, either, chain)
    if content.keys() & set(either):
        replaced = set(either) - content.keys()
        inherited = {key: value for key, value in inherited.items() if key not in replaced}
    joined = merged(inherited, content, f"{path}: {{}} as in {root / base} without it")
    own, all_keys = _leaves(content), _leaves(inherited)
    return joined, {key: origins.get(key, root / base) for key in all_keys if key not in own}


def merged(
    inherited: dict[str, Any], own: dict[str, Any], complaint: str = "", prefix: str = ""
) -> dict[str, Any]:
    """Nested values with those of `own` in place of the inherited ones.

    With a `complaint`, a key that changes nothing is a `UserError`; {} in it is the key and value.
    """
    joined = dict(inherited)
    for key, value in own.items():
        was = inherited.get(key)
        if complaint and key in inherited and was == value:
            raise UserError(complaint.format(f"{prefix}{key} is {value}") + "; drop this key")
        if isinstance(was, dict) and isinstance(value, dict):
            value = merged(was, value, complaint, f"{prefix}{key}.")
        joined[key] = value
    return joined


def _leaves(content: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys of all values that are no sections."""
    found = []
    for key, value in content.items():
        inside = _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else []
        found += inside or [f"{prefix}{key}"]
    return found


def inherited_from(key: str, origins: Mapping[str, Path]) -> str:
    """In which file a key or the keys of a section stand, for a message; empty for one's own."""
    files = dict.fromkeys(
        str(file) for leaf, file in origins.items() if leaf == key or leaf.startswith(f"{key}.")
    )
    return f" ({key} stands in {' and '.join(files)})" if files else ""


def _nearby(path: Path) -> str:
    """The YAML files that do exist in the folder of one that does not."""
    found = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; found there: {', '.join(found)}" if found else ""


def build(
    schema: type[T], content: dict[str, Any], path: Path, origins: Mapping[str, Path] = NO_ORIGINS
) -> T:
    """Check what was read from `path` against a dataclass; all complaints are one `UserError`.

    `origins` are the files of the keys that `path` inherits.
    """
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        found = [_complaint(item, schema) for item in error.errors()]
        complaints = [f"{key}: {said}{inherited_from(key, origins)}" for key, said in found]
        raise UserError(f"{path}: {' | '.join(complaints)}") from None


def _complaint(item: ErrorDetails, schema: Any) -> tuple[str, str]:
    """The key that pydantic complains of, and what was found and what is allowed."""
    location = tuple(part for part in item["loc"] if not str(part).startswith("function-"))
    key = ".".join(str(part) for part in location if not _is_tag(part)) or "(top level)"
    if item["type"] == "unexpected_keyword_argument":
        allowed = _field_names(schema, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        return key, f"unknown key; {hint}allowed: {', '.join(allowed)}"
    if item["type"] in ("missing", "missing_argument"):
        return key, "required, and not given"
    if item["type"] == "value_error":
        return key, str(item["ctx"]["error"])
    return key, f"got {item['input']!r}; {item['msg']}{_hint(key, item['input'])}"


def _hint(key: str, given: Any) -> str:
    """How to write a value that YAML has read as something else than what was meant."""
    if isinstance(given, str) and re.fullmatch(r"[+-]?[\d.]+[eE][+-]?\d+", given):
        return f"; YAML reads {given} as text, write {float(given)!r}"
    if isinstance(given, bool):
        return "; YAML reads yes, no, on and off as true or false: quote it if it is text"
    if key == "task.threshold" and isinstance(given, int | float) and given >= 0.5:
        return f"; a threshold is a fraction: {given} % is {given / 100:g}"
    return ""


def _field_names(schema: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    for part in location:
        if _is_tag(part):
            schema = next(c for c in _dataclasses_in(schema) if f"<{c.__name__}>" == part)
            continue
        field = next((f for f in _fields(schema) if f.name == part), None)
        if field is None or not _dataclasses_in(field.type):
            return []
        schema = field.type
    return [f.name for f in _fields(schema)]


def _fields(schema: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass, or of the one that an annotation such as `X | None` holds."""
    return [field for one in _dataclasses_in(schema) for field in dataclasses.fields(one)]


def _is_tag(part: Any) -> bool:
    """Whether a part of a location names one class of a union, as `<DataConfig>` does."""
    return str(part).startswith("<")


def _dataclasses_in(annotation: Any) -> list[Any]:
    """The dataclasses of an annotation, which may be a union of several."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _dataclasses_in(inner)]
