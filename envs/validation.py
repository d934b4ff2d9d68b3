"""YAML -> checked values, or one line that names what is wrong.

A file may come from anywhere. It is read whole or not at all, by PyYAML's safe loader, which makes plain values only.
What that loader takes in silence is refused here: keys given twice, aliases that multiply, a value inside itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from envs.errors import UserError, shown, unknown

# Of a dataclass whose unknown keys are mistakes, and whose numbers are finite.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
MOST_BYTES = 2**20  # of a file
MOST_NODES = 50_000  # values of a file, those that an alias repeats counted each time
MOST_DEPTH = 40  # sections within sections
T = TypeVar("T")
Count = Annotated[int, Field(ge=1)]
# What PyYAML's constructors raise for text that a tag or its form promises to be a number, a date, a truth value.
NOT_AS_TAGGED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, bounded. Raises yaml.YAMLError, with the line, for what the module's docstring names."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth, self._nodes = 0, 0
        self._open: set[str] = set()  # anchors whose value is not complete
        self._sizes: dict[str, int] = {}  # anchor -> nodes of its value, aliases expanded

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self._open:
                raise _error(f"the value &{event.anchor} holds itself", event)
            self._count(self._sizes.get(event.anchor, 1), event)
            return super().compose_node(parent, index)
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise _error(f"more than {MOST_DEPTH} levels of sections within sections", event)
        before = self._nodes
        self._count(1, event)
        if event.anchor:
            self._open.add(event.anchor)
        node = super().compose_node(parent, index)
        if event.anchor:
            self._open.discard(event.anchor)
            self._sizes[event.anchor] = self._nodes - before
        self._depth -= 1
        return node

    def _count(self, nodes: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise _error(f"more than {MOST_NODES} values, with those that aliases repeat", event)

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key that is no plain text or number", key)
            name = (key.tag, key.value)
            if name in lines:
                raise _error(f"key {key.value!r} is given twice, first in line {lines[name]}", key)
            lines[name] = key.start_mark.line + 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except NOT_AS_TAGGED as error:
            value = node.value if isinstance(node, yaml.ScalarNode) else "what follows"
            raise _error(f"{shown(value)} is no {node.tag.rpartition(':')[2]}", node) from error
        if value != value:
            raise _error(f"{node.value} is no number", node)
        return value


def _no_such_tag(loader: _Loader, node: yaml.Node) -> Any:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise _error(f"tag {shown(tag)}, where only plain values are taken", node)


_Loader.add_constructor(None, _no_such_tag)


def _error(problem: str, at: yaml.Node | yaml.Event) -> ConstructorError:
    return ConstructorError(None, None, problem, at.start_mark)


def parse(text: str) -> Any:
    """The value of a YAML text. Raises ValueError, its message with the line where that is known."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: character {chr(error.character)!r} is not text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(f"line {mark.line + 1}: {said}" if mark else said) from error


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError where there is none, naming the file and the line at fault."""
    text = _text(path)
    try:
        values = parse(text)
    except ValueError as error:
        raise UserError(f"config {str(path)!r} is not YAML: {error}; valid: one mapping of keys to values") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"config {str(path)!r} holds {type(values).__name__}; valid: a mapping of keys to values")
    return values


def _text(path: Path) -> str:
    """The text in a file. Raises UserError for no file, one that cannot be read, is too large, or no UTF-8."""
    what = f"config {str(path)!r}"
    try:
        if not path.is_file():
            raise UserError(f"no config {str(path)!r}; valid: a YAML file such as configs/demo.yaml")
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}") from error
    return utf8(read_within(path, MOST_BYTES, what, f"{MOST_BYTES} bytes; valid: a YAML file written by hand"), what)


def read_within(path: Path, most: int, what: str, bound: str = "") -> bytes:
    """The bytes of a file, at most so many. what: the file, and bound: its size and what is valid, in errors.

    Raises UserError for a file that is larger, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise UserError(f"{what} has more than {bound or f'{most:,} bytes; valid: fewer'}")
    return content


def utf8(content: bytes, what: str) -> str:
    """The text that the bytes of a file are. Raises UserError naming the line and the byte that are not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        where = f"byte 0x{byte:02x} at {error.start}, in line {line}"
        raise UserError(f"{what} is not UTF-8: {where}; valid: a text file saved as UTF-8") from error


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
    return f"config key {key!r} = {shown(error['input'])}: {error['msg']}"


def _keys(kind: type, section: tuple[str, ...]) -> list[str]:
    """The valid keys of a section of the config."""
    schema = TypeAdapter(kind).json_schema()
    node = schema
    for name in section:
        child = node["properties"][name] if name in node.get("properties", {}) else node["additionalProperties"]
        kinds = [child, *child.get("anyOf", ())]  # a section that may be null has two
        references = [kind["$ref"].rpartition("/")[2] for kind in kinds if "$ref" in kind]
        node = schema["$defs"][references[0]] if references else child
    return list(node["properties"])
