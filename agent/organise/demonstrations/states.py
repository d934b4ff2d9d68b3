"""Recorded states of MuJoCo, as robosuite flattens them: time [s], joint positions, joint velocities. An environment is
put into each, drawn by our renderer, and described in the task's words."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from agent.organise.demonstrations.demonstration import Demonstration
from envs.checks.health import data_of
from envs.foreign.resets.simulation import put_flat
from envs.task import Task
from envs.wrappers import pictures

SEED = 0  # of the reset that what is no part of a state comes from: what stands fixed, its colours


class Moment(NamedTuple):
    """What was drawn and said of a state. pictures: (cameras, H, W, 3) uint8."""

    pictures: np.ndarray
    proprioception: str
    thought: str


def misfit(task: Task, env: gym.Env, demonstration: Demonstration) -> str:
    """Why the environment cannot be put into the recorded states, or not describe them; empty where it can."""
    states, data = demonstration.states, data_of(env)
    if states is None:
        return "it records no states"
    if data is None:
        return f"its states are MuJoCo's, and {task.env.id!r} is not simulated by MuJoCo"
    wanted = 1 + data.model.nq + data.model.nv
    if states.ndim != 2 or states.shape[1] != wanted or not np.isfinite(states).all():
        shape = " x ".join(map(str, states.shape))
        return f"its states are {shape} numbers, and those of {task.env.id!r} {wanted} finite ones each"
    elsewhere = [
        str(number.source)
        for numbers in getattr(task.language, "parts", {}).values()
        for number in numbers
        if number.source.kind == "path"
    ]
    if elsewhere and task.language.thought_regex:
        return f"its states do not tell {elsewhere[0]}, with which an answer begins (sees: body, site, geom or joint)"
    return ""


def moments(task: Task, env: gym.Env, demonstration: Demonstration) -> Iterator[Moment]:
    """One for each recorded state, in their order. env: of the task; a history of frames that it keeps is not used."""
    env.reset(seed=SEED)
    data, thought = data_of(env), task.teacher.thought or (lambda env: "")
    for state in demonstration.states:
        put_flat(data, state)
        yield Moment(pictures(env), task.language.proprioception(env), thought(env))


def succeeds(env: gym.Env, demonstration: Demonstration, last: Any) -> bool:
    """Whether the last action, taken in the last recorded state, ends in success. last: in the action space."""
    env.reset(seed=SEED)
    put_flat(data_of(env), demonstration.states[-1])
    return bool(env.step(last)[-1]["success"])
