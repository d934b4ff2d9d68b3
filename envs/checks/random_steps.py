"""Whether what follows an action is decided by chance: tried with a few episodes of random actions.

A restored state holds the states of its random generators, so that what follows is the same again. To learn what an
action is worth, and not what luck made of it, it is followed by other random events than those that were recorded, the
same for all actions that are compared (common random numbers). Nothing of the check is counted.
"""

from contextlib import closing
from typing import Any

from envs.foreign.raising import answer_of_fork, is_of_environment
from envs.foreign.resets.remade import global_generators_kept
from envs.snapshot import Restorable
from envs.splits import SPLITS
from envs.task import DECLARED, Task

EPISODES, STEPS = 2, 60  # at most of an episode
_KNOWN: dict[tuple[str, str], bool] = {}  # by this process, of each task and its environment


def has_random_steps(task: Task) -> bool:
    """Whether other random events (`Restorable.redraw`) lead elsewhere by the same actions.

    Some environments draw random numbers that decide nothing, as Gymnasium's frozen lake does where it is not slippery.
    Not found are events that are rarer than the steps tried, and those of generators that Python does not hold. Of an
    environment that raises, what it did before counts; one that ends its process has none.
    """
    key = task.name, repr(task.env)
    if key not in _KNOWN:
        answer = answer_of_fork(lambda: _found(task)) if task.suite == DECLARED else None
        _KNOWN[key] = _found(task) if answer is None else answer is True
    return _KNOWN[key]


def _found(task: Task) -> bool:
    # not the environment of a subclass, which may be watched, and count its episodes; without a history of frames, as
    # nothing may be drawn in a fork
    with global_generators_kept(), closing(Task.make(task.with_env(frames=1))) as env:
        env.action_space.seed(0)
        actions = [env.action_space.sample() for _ in range(STEPS)]
        seeds = range(SPLITS["practice"][-1] - EPISODES, SPLITS["practice"][-1])
        return any(_leads_apart(env, seed, actions) for seed in seeds)


def _leads_apart(env: Restorable, seed: int, actions: list[Any]) -> bool:
    """Whether other random events lead elsewhere in the episode of this seed."""
    recorded = _followed(env, seed, actions, None)
    if not env.has_drawn:
        return False
    return any(_followed(env, seed, actions, events) != recorded for events in (0, 1))


def _followed(env: Restorable, seed: int, actions: list[Any], events: int | None) -> tuple[Any, ...]:
    """The states of an episode, without its generators, and its rewards and endings."""
    given: list[Any] = []
    try:
        env.reset(seed=seed)
        if events is not None:
            env.redraw(events)
        for action in actions:
            _, reward, terminated, truncated, _ = env.step(action)
            given += [env.fingerprint(generators=False), float(reward), terminated, truncated]
            if terminated or truncated:
                break
    except BaseException as error:
        if not is_of_environment(error):
            raise
    return tuple(given)
