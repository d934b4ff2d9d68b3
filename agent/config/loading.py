"""A config from its file: YAML with a base and dotted overrides, checked whole before anything starts."""

import dataclasses
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from agent.config.run import Config
from envs.errors import UserError
from envs.validation import checked, parse, read

T = TypeVar("T")


def load(
    path: Path, overrides: Sequence[str] = (), kind: type[T] = Config, changes: Mapping[str, Any] | None = None
) -> T:
    """The config of a YAML file, with `changes` by dotted key, then `--dotted.key value` overrides, applied.

    Of a run's or of pretraining's file, the key `base` names another one, relative to it, whose values hold where it
    has none. Raises UserError naming the bad key or value.
    """
    based = "base" not in {field.name for field in dataclasses.fields(kind)}
    values = _with_base(path) if based else read(path)
    for key, value in [*(changes or {}).items(), *_parse(overrides)]:
        *parents, last = key.split(".")
        section = values
        for parent in parents:
            if section.get(parent) is None:
                section[parent] = {}
            section = section[parent]
            if not isinstance(section, dict):
                raise UserError(f"config key {key!r}: {parent!r} is no section")
        section[last] = deepcopy(value)
    return checked(kind, values)


def _with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """above: the files whose base this one is."""
    values = read(path)
    if "base" not in values:
        return values
    base = path.parent / str(values.pop("base"))
    if base.resolve() in (path.resolve(), *above):
        raise UserError(
            f"config key 'base' = {str(base)!r}, in {str(path)!r}, leads back to itself; valid: another file"
        )
    return _merged(_with_base(base, (*above, path.resolve())), values)


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key; anything else replaces what the base has."""
    merged = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def _parse(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    pairs, rest = [], list(overrides)
    while rest:
        key = rest.pop(0)
        if not key.startswith("--"):
            raise UserError(f"argument {key!r}; valid: --dotted.key value")
        key, equals, value = key[2:].partition("=")
        if not equals:
            if not rest:
                raise UserError(f"override --{key} has no value")
            value = rest.pop(0)
        try:
            pairs.append((key.replace("-", "_"), parse(value)))
        except ValueError as error:
            raise UserError(f"config key {key!r} = {value!r} is not YAML: {error}") from error
    return pairs
