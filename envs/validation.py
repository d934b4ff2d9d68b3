"""YAML -> checked values, or one line that names what is wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from envs.errors import UserError, unknown

STRICT = ConfigDict(extra="forbid")  # of a dataclass whose unknown keys are mistakes
T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"no config {str(path)!r}; valid: a YAML file such as configs/demo.yaml")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"config {str(path)!r} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"config {str(path)!r} holds {type(values).__name__}; valid: a mapping of keys to values")
    return values


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """A config, or a section, of these values. Raises UserError naming the bad key or value."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise UserError("; ".join(_explain(kind, e) for e in error.errors())) from error


def _explain(kind: type, error: Any) -> str:
    location = tuple(str(part) for part in error["loc"])
    key = ".".join(location)
    if error["type"] == "unexpected_keyword_argument":
        return str(unknown("config key", key, [".".join((*location[:-1], k)) for k in _keys(kind, location[:-1])]))
    if error["type"] == "missing":
        return f"config key {key!r} is missing"
    return f"config key {key!r} = {error['input']!r}: {error['msg']}"


def _keys(kind: type, section: tuple[str, ...]) -> list[str]:
    """The valid keys of a section of the config."""
    schema = TypeAdapter(kind).json_schema()
    node = schema
    for name in section:
        child = node["properties"][name] if name in node.get("properties", {}) else node["additionalProperties"]
        reference = child.get("$ref", "").rpartition("/")[2]
        node = schema["$defs"][reference] if reference else child
    return list(node["properties"])
