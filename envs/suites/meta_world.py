"""Meta-World's fifty tasks (Yu et al., 2020), with its published splits and scripted experts, where it is installed.

The names of the tasks are listed here, so that `handeye tasks` needs no metaworld.
"""

import importlib
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from envs.language import Bins, SignedLevels, StateLanguage, StateWords
from envs.task import ActionWords, EnvSpec, Task, state_teacher
from envs.wrappers import SuccessRule

MAX_STEPS = 300  # of at most 500: its experts need 50 to 170
REPEAT = 2  # its experts, made for every step, succeed on 90 % and more of the starts so, and on half of some with 5
# Across the table, towards the arm: Meta-World's own cameras show too little of it in 64 pixels.
CAMERA = {"lookat": (0.0, 0.65, 0.08), "distance": 0.95, "azimuth": -90.0, "elevation": -40.0}
# Depth is not seen in 64 pixels: one camera tells what the other does not.
BESIDE = {"lookat": (0.0, 0.65, 0.12), "distance": 0.95, "azimuth": 0.0, "elevation": -20.0}
N = 32  # bins along an axis
SPACE = (Bins(-0.5, 0.5, N), Bins(0.3, 1.0, N), Bins(0.0, 0.5, N))  # [m] where hand and things come
ML10_TRAIN = (
    "basketball",
    "button-press-topdown",
    "door-open",
    "drawer-close",
    "peg-insert-side",
    "pick-place",
    "push",
    "reach",
    "sweep",
    "window-open",
)
ML10_TEST = ("door-close", "drawer-open", "lever-pull", "shelf-place", "sweep-into")
ML45_TEST = ("bin-picking", "box-close", "door-lock", "door-unlock", "hand-insert")
INSTRUCTIONS = {
    "assembly": "put the ring over the peg",
    "basketball": "put the ball through the hoop",
    "bin-picking": "bring the object from the one bin to the other",
    "box-close": "put the lid on the box",
    "button-press": "press the button",
    "button-press-topdown": "press the button from above",
    "button-press-topdown-wall": "press the button from above, behind the wall",
    "button-press-wall": "press the button behind the wall",
    "coffee-button": "press the button of the coffee machine",
    "coffee-pull": "pull the mug away from the coffee machine",
    "coffee-push": "push the mug under the coffee machine",
    "dial-turn": "turn the dial",
    "disassemble": "lift the ring off the peg",
    "door-close": "close the door",
    "door-lock": "lock the door",
    "door-open": "open the door",
    "door-unlock": "unlock the door",
    "drawer-close": "close the drawer",
    "drawer-open": "open the drawer",
    "faucet-close": "close the faucet",
    "faucet-open": "open the faucet",
    "hammer": "hammer the nail in",
    "hand-insert": "put the hand into the hole",
    "handle-press": "press the handle down",
    "handle-press-side": "press the handle down, from the side",
    "handle-pull": "pull the handle up",
    "handle-pull-side": "pull the handle up, from the side",
    "lever-pull": "pull the lever up",
    "peg-insert-side": "put the peg into the hole",
    "peg-unplug-side": "pull the peg out of the hole",
    "pick-out-of-hole": "lift the puck out of the hole",
    "pick-place": "bring the puck to the target",
    "pick-place-wall": "bring the puck over the wall to the target",
    "plate-slide": "slide the plate into the goal",
    "plate-slide-back": "slide the plate out of the goal",
    "plate-slide-back-side": "slide the plate out of the goal, sideways",
    "plate-slide-side": "slide the plate into the goal, sideways",
    "push": "push the puck to the target",
    "push-back": "pull the block back to the target",
    "push-wall": "push the puck around the wall to the target",
    "reach": "bring the hand to the target",
    "reach-wall": "bring the hand over the wall to the target",
    "shelf-place": "put the block on the shelf",
    "soccer": "push the ball into the goal",
    "stick-pull": "pull the container with the stick",
    "stick-push": "push the container with the stick",
    "sweep": "sweep the block off the table",
    "sweep-into": "sweep the block into the hole",
    "window-close": "close the window",
    "window-open": "open the window",
}

SPLITS = {
    "ml10-train": ML10_TRAIN,
    "ml10-test": ML10_TEST,
    "ml45-train": tuple(name for name in INSTRUCTIONS if name not in ML45_TEST),
    "ml45-test": ML45_TEST,
}


class Seeded(gym.Wrapper[Any, Any, Any, Any]):
    """Draws goal and layout from the seed of the reset, which Meta-World's own reset ignores."""

    def __init__(self, task: str, render_mode: str | None = None):
        known = importlib.import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS
        env = known[f"{task}-v3"](render_mode=render_mode)
        env.seeded_rand_vec, env._freeze_rand_vec, env._set_task_called = True, False, True
        # The observation, which only experts read, holds the goal; bounds computed before would hide it again.
        env._partially_observable = False
        vars(env).pop("sawyer_observation_space", None)
        super().__init__(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.env.unwrapped.seed(seed)
        self.env.unwrapped._last_stable_obs = None  # of the last episode: a beginning is one state, not several
        return self.env.reset(options=options)


gym.register("HandEye/MetaWorld-v3", entry_point=f"{__name__}:Seeded", max_episode_steps=MAX_STEPS)


def _seen(env: gym.Env) -> dict[str, np.ndarray]:
    """By the layout of Meta-World's observations: the hand, the first object, and last the goal, each (3,) [m]."""
    observed = env.get_wrapper_attr("observation")
    return {
        "hand": [*observed[:3], observed[3]],
        "object": observed[4:7],
        "goal": observed[-3:],
        "way": observed[4:7] - observed[:3],
    }


THINGS = StateWords({"object": SPACE, "goal": SPACE, "way": (SignedLevels(0.5, N),) * 3}, _seen)
HAND = StateWords({"hand": (*SPACE, Bins(0.0, 1.0, 8))}, _seen)
LEGEND = (
    "The first picture is taken from the side of the table, the second across it, towards the arm.",
    f"The axes are x, along the table, y, away from the arm, and z, up. A place is a bin on each, {N} of them: x from "
    "-0.5 to 0.5 m, y from 0.3 to 1.0 m, z from 0 to 0.5 m.",
    "`hand` is its place, then how far its fingers are open, 0 to 7.",
    "`object` and `goal` are their places; `way` is that from the hand to the object on each axis, 1.6 cm a level.",
    "The action moves the hand along x, y and z; its last number closes (+) or opens (-) the fingers.",
)


@cache
def _policy(task: str) -> Any:
    return importlib.import_module("metaworld.policies").ENV_POLICY_MAP[f"{task}-v3"]()


def _task(name: str, instruction: str) -> Task:
    language = StateLanguage(instruction, THINGS, HAND, LEGEND)

    def expert(env: gym.Env) -> np.ndarray:
        action = _policy(name).get_action(env.get_wrapper_attr("observation").copy())  # some change it in place
        return np.clip(action, -1, 1).astype(np.float32)

    return Task(
        f"mw-{name}",
        "metaworld",
        "heldout" if name in ML45_TEST else "practice",
        EnvSpec(
            "HandEye/MetaWorld-v3",
            {"task": name},
            SuccessRule("success", at_least=1, source="Meta-World's own"),
            cameras=(BESIDE, CAMERA),
            repeat=REPEAT,
        ),
        tags=tuple(tag for tag, names in SPLITS.items() if name in names),
        actions=ActionWords(levels=21),
        language=language,
        teacher=state_teacher(language, expert),
    )


METAWORLD = tuple(_task(name, instruction) for name, instruction in INSTRUCTIONS.items())
