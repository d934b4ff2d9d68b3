"""LIBERO's 130 tasks (Liu et al., 2023), where it is installed. Scenes, success and starts are its own."""

import gymnasium as gym

from envs.suites.libero.tasks import LIBERO

__all__ = ["LIBERO"]

gym.register("HandEye/Libero-v0", entry_point="envs.suites.libero.env:Libero")
