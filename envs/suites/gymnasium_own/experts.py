"""Scripted experts of Gymnasium's own tasks: privileged, shown the environment's state; each gives an action."""

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d import lunar_lander

DISCOUNT = 0.99


def cartpole(env: gym.Env) -> int:
    """Under the pole, and slowly back to the middle: a linear controller."""
    x, x_dot, theta, theta_dot = env.unwrapped.state
    return int(theta + 0.5 * theta_dot + 0.02 * x + 0.1 * x_dot > 0)


def mountain_car(env: gym.Env) -> int:
    """The way it rolls: each swing goes higher."""
    return 2 if env.unwrapped.state[1] >= 0 else 0


def acrobot(env: gym.Env) -> int:
    """The way the elbow turns: energy is pumped in."""
    return int(np.sign(env.unwrapped.state[3])) + 1


def pendulum(env: gym.Env) -> np.ndarray:
    """More energy or less (Astrom and Furuta, 2000), and held where it stands upright."""
    theta, theta_dot = env.unwrapped.state
    theta = wrapped(theta)  # [rad] from upright
    if abs(theta) < 0.5:
        torque = -10 * theta - 2 * theta_dot
    else:
        energy = theta_dot**2 / 6 + 5 * (np.cos(theta) - 1)  # [J] less than upright and still
        torque = -2.0 * np.sign((theta_dot or 0.1) * energy)
    return np.clip([torque], -2, 2).astype(np.float32)


def planned(env: gym.Env) -> int:
    """The best action by value iteration on the transitions that Gymnasium's toy texts tell (`env.unwrapped.P`)."""
    inner = env.unwrapped
    table = tuple((s, a, tuple(outcomes)) for s, of in inner.P.items() for a, outcomes in of.items())
    return int(_values(table)[inner.s].argmax())


@lru_cache(maxsize=256)
def _values(table: tuple[tuple[Any, ...], ...]) -> np.ndarray:
    """(states, actions): the discounted rewards to come."""
    n, m = max(s for s, _, _ in table) + 1, max(a for _, a, _ in table) + 1
    rewards, transitions = np.zeros((n, m)), np.zeros((n, m, n))
    for s, a, outcomes in table:
        for chance, after, reward, ended in outcomes:
            rewards[s, a] += chance * reward
            transitions[s, a, after] += chance * (not ended)
    values = rewards
    for _ in range(200):
        values = rewards + DISCOUNT * transitions @ values.max(axis=1)
    return values


def lander(env: gym.Env) -> int:
    """Gymnasium's own heuristic."""
    return int(lunar_lander.heuristic(env.unwrapped, env.get_wrapper_attr("observation")))


def inverted_pendulum(env: gym.Env) -> np.ndarray:
    """A linear controller."""
    (x, theta), (x_dot, theta_dot) = env.unwrapped.data.qpos, env.unwrapped.data.qvel
    return np.clip([0.5 * x + 0.8 * x_dot + 15 * theta + 2.0 * theta_dot], -3, 3).astype(np.float32)


def wrapped(angle: float) -> float:
    """[rad] -> the same from -pi to pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
