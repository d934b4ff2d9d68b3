"""`gym.make`, and what it raises as one line: an unknown id, a missing package, a wrong argument."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, load_env_creator, parse_env_id

from envs.errors import UserError, close_to, first_line, shown, unknown
from envs.foreign.raising import is_of_environment, named

PACKAGES = {"robotics": "gymnasium_robotics", "metaworld": "metaworld"}  # of suites that are extras
MODULE_HINT = "one of a package is MODULE:ID, such as gymnasium_robotics:FetchReach-v3"
UNEXPECTED = "got an unexpected keyword argument "


def made(task: str, suite: str, env_id: str, kwargs: Mapping[str, Any]) -> gym.Env:
    """The environment, with its time limit, whose `render` gives arrays. task, suite: whose it is, for messages.

    Raises UserError, naming the id or the argument, for whatever `gym.make` raises.
    """
    for key in ("render_mode", "id"):
        if key in kwargs:
            raise UserError(f"kwargs.{key} = {shown(kwargs[key])}; valid: leave it out, pictures are arrays")
    given = kwargs.get("max_episode_steps")
    if given is not None and (type(given) is not int or (given < 1 and given != -1)):
        raise UserError(f"kwargs.max_episode_steps = {shown(given)}; valid: a whole number of steps, at least 1")
    with _refused(task, suite, env_id, kwargs):
        return gym.make(env_id, render_mode="rgb_array", **kwargs)


def limit(env_id: str, kwargs: Mapping[str, Any]) -> int | None:
    """Steps of an episode, at most; None where no limit is given or registered. Raises UserError for an unknown id."""
    with _refused(env_id, "", env_id, kwargs):
        steps = kwargs.get("max_episode_steps") or _registered(env_id).max_episode_steps
    return steps if steps and steps > 0 else None  # Gymnasium takes -1 for no limit


def _registered(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    return gym.spec(_with_version(name))


def _with_version(name: str) -> str:
    """The id that `gym.make` takes for a name: the newest version where none is named, as in `CartPole`."""
    if name in gym.registry:
        return name
    namespace, base, version = parse_env_id(name)
    return get_env_id(namespace, base, find_highest_version(namespace, base) if version is None else version)


@contextmanager
def _refused(task: str, suite: str, env_id: str, kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Whatever is raised within becomes a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except ModuleNotFoundError as error:
        module = error.name or env_id.partition(":")[0]
        who, valid = f"environment {env_id!r}", "pip install, or its folder on PYTHONPATH"
        if suite in PACKAGES:
            who, valid = f"task {task!r}", f"pip install 'handeye[{suite}]'"
        raise UserError(f"{who} needs {module}; valid once it is installed: {valid}") from error
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv) as error:
        raise UserError(f"unknown environment {env_id!r}; {_nearest(env_id)}") from error
    except gym.error.DependencyNotInstalled as error:
        raise UserError(f"environment {env_id!r}: {first_line(error)}") from error
    except gym.error.Error as error:
        raise UserError(f"environment {env_id!r}: {first_line(error)} {_nearest(env_id)}") from error
    except TypeError as error:
        raise _wrong_argument(env_id, kwargs, error) from error
    except ImportError as error:  # of an environment that has moved
        raise UserError(f"environment {env_id!r}: {first_line(error)} {_nearest(env_id)}") from error
    except BaseException as error:  # whatever a module or a constructor raises
        if not is_of_environment(error):
            raise
        raise UserError(f"environment {env_id!r} cannot be made{_with(kwargs)}: {named(error)}") from error


def _nearest(env_id: str) -> str:
    """The ids most like this one: other versions, newest first; the same of a package that is installed; or any."""
    packaged = _of_packages()
    known = [*packaged, *gym.registry]
    same = {name for name in known if "-v" in name and _bare(name) == _bare(env_id)} - {env_id}
    if same:
        return f"valid: {', '.join(sorted(same, reverse=True)[:2])}"
    return f"{close_to(env_id, known)} ({MODULE_HINT})"


def _bare(env_id: str) -> str:
    """The name in an id, without its module and version."""
    return env_id.rpartition(":")[2].partition("-v")[0].lower()


def _of_packages() -> list[str]:
    from envs import registry  # imports the tasks, which import this module

    installed = {suite for suite, package in PACKAGES.items() if find_spec(package)}
    return sorted({task.env.id for task in registry.TASKS.values() if task.suite in installed})


def _wrong_argument(env_id: str, kwargs: Mapping[str, Any], error: TypeError) -> UserError:
    said = first_line(error)
    _, unexpected, rest = said.partition(UNEXPECTED)
    name = rest.split("'")[1] if unexpected and "'" in rest else ""
    if name == "render_mode":
        return UserError(
            f"environment {env_id!r}: its constructor takes no render_mode; "
            "valid: __init__(self, render_mode=None), and 'rgb_array' among metadata['render_modes']"
        )
    if name in kwargs:
        creator = _registered(env_id).entry_point
        creator = load_env_creator(creator) if isinstance(creator, str) else creator
        known = [p for p in inspect.signature(creator).parameters if p not in ("self", "args", "kwargs", "render_mode")]
        return unknown(f"argument of {env_id!r}", name, [*known, "max_episode_steps"])
    said = said.partition(" was raised from the environment creator")[0]
    return UserError(f"environment {env_id!r} cannot be made{_with(kwargs)}: TypeError: {said}")


def _with(kwargs: Mapping[str, Any]) -> str:
    return f" with {shown(dict(kwargs))}" if kwargs else ""
