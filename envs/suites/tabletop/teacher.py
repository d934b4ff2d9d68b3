"""The tabletop's teacher, privileged: a scripted expert, what an ideal critic says of an ending, endings that fail."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from envs.suites.tabletop.captions import captions, varied
from envs.suites.tabletop.words import binned
from envs.task import Captions, Endings, Teacher

ELSEWHERE = 0.32  # [m] on each axis, at most: beyond the table's edge

Places = dict[str, np.ndarray]  # name -> (2,) [m]


def expert(env: gym.Env, elsewhere: Places | None = None) -> tuple[str, np.ndarray]:
    """The thought and the action of an ideal policy.

    It acts on places as words can tell them, so that its action follows from its words. elsewhere: wrong places that
    it is given for some things.
    """
    inner = env.unwrapped
    places = {name: binned(place) for name, place in inner.scene.places().items()} | (elsewhere or {})
    thought, action = inner.plan(binned(inner.scene.gripper), places)
    return inner.language.say(thought), action


def conclude(env: gym.Env) -> str:
    """What an ideal critic sees, and how much is left to do."""
    inner = env.unwrapped
    return inner.language.say_ending(inner.ending(inner.scene.gripper, inner.scene.places()))


def ask_for_another(env: gym.Env, rng: np.random.Generator) -> None:
    """Another thing on the table becomes the one that the instruction names, if there is one."""
    inner = env.unwrapped
    objects, pads = (
        [n for n in some if n not in (inner.goal, inner.goal_pad)] for some in (inner.scene.objects, inner.scene.pads)
    )
    if pads and rng.random() < 0.5:
        inner.goal_pad = str(rng.choice(pads))
    elif objects:
        inner.goal = str(rng.choice(objects))


def misled(env: gym.Env, rng: np.random.Generator) -> Callable[[gym.Env], np.ndarray] | None:
    """As in `Endings`: half the time the instruction asks for another thing, else the expert is given a wrong goal
    position, on the table or beyond its edge."""
    if rng.random() < 0.5:
        return ask_for_another(env, rng)
    inner = env.unwrapped
    elsewhere = {inner.goal_pad or inner.goal: rng.uniform(-ELSEWHERE, ELSEWHERE, 2)}
    return lambda env: expert(env, elsewhere)[1]


TEACHER = Teacher(
    expert=expert,
    captions=Captions(captions, varied),
    endings=Endings(conclude, lambda env: env.unwrapped.success(), misled),
)
