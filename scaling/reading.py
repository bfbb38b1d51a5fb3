"""YAML files read strictly, and every mistake in them explained on one line."""

import dataclasses
import difflib
import re
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
        content = _parsed(path)
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, TypeError) as error:  # of a syntax, a value or a key
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, must hold `key: value` lines")
    return content


def _parsed(path: Path) -> Any:
    # PyYAML decodes the bytes itself, and raises a YAMLError for those that are no text.
    loader = _UniqueKeyLoader(path.read_bytes())
    loader.name = str(path)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _nearby(path: Path) -> str:
    """The YAML files that do exist in the folder of one that does not."""
    found = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    return f"; found there: {', '.join(found)}" if found else ""


def build(schema: type[T], content: dict[str, Any], path: Path) -> T:
    """Check what was read from `path` against a dataclass; all complaints are one `UserError`."""
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        complaints = (_complaint(item, schema) for item in error.errors())
        raise UserError(f"{path}: {' | '.join(complaints)}") from None


def _complaint(item: ErrorDetails, schema: Any) -> str:
    """One complaint of pydantic as `key: what was found, what is allowed`."""
    location = tuple(part for part in item["loc"] if not str(part).startswith("function-"))
    key = ".".join(str(part) for part in location if not _is_tag(part)) or "(top level)"
    if item["type"] == "unexpected_keyword_argument":
        allowed = _field_names(schema, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean `{close[0]}`? " if close else ""
        return f"{key}: unknown key; {hint}allowed: {', '.join(allowed)}"
    if item["type"] in ("missing", "missing_argument"):
        return f"{key}: required, and not given"
    if item["type"] == "value_error":
        return f"{key}: {item['ctx']['error']}"
    return f"{key}: got {item['input']!r}; {item['msg']}{_hint(key, item['input'])}"


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
        field = next((f for f in dataclasses.fields(schema) if f.name == part), None)
        if field is None or not _dataclasses_in(field.type):
            return []
        schema = field.type
    return [f.name for f in dataclasses.fields(schema)]


def _is_tag(part: Any) -> bool:
    """Whether a part of a location names one class of a union, as `<DataConfig>` does."""
    return str(part).startswith("<")


def _dataclasses_in(annotation: Any) -> list[Any]:
    """The dataclasses of an annotation, which may be a union of several."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _dataclasses_in(inner)]
