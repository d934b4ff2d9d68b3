"""A worker's call that takes over what was found here of environments by trying them, which takes time."""

from collections.abc import Callable, Mapping
from typing import Any

from agent.collect.processes.serving import Call
from envs.task import Found, known, learn


def informed(function: Callable[..., Any], *args: Any) -> Call:
    """The call of a function in a worker."""
    return Call(_informed, (known(), function, *args))


def _informed(found: Mapping[str, Found], function: Callable[..., Any], *args: Any) -> Any:
    learn(found)
    return function(*args)
