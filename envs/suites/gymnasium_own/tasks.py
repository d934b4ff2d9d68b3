"""Gymnasium's own tasks, given an instruction and a rule of success."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

import gymnasium as gym
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

from envs.language import Sight, told
from envs.suites.gymnasium_own import experts, reacher
from envs.suites.gymnasium_own import state_words as sights
from envs.task import Task
from envs.wrappers import SuccessRule

REGISTRY = "reward_threshold of Gymnasium's registry"
COMPASS = ("left", "down", "right", "up")
LAKE_SIZE = 4  # tiles along each side
SPLITS = ("practice", "heldout")
# The reacher's board, from above: in a picture of all of it the target has two pixels of 64 on each side.
QUARTERS = tuple(
    {"lookat": (x, y, 0), "distance": 0.29, "azimuth": 90.0, "elevation": -90.0}
    for y in (0.11, -0.11)
    for x in (-0.11, 0.11)
)


class Lake(FrozenLakeEnv):
    """FrozenLake with a map of its own for each seed; no map is in both splits."""

    def __init__(self, maps: str = "practice", **kwargs: Any):
        super().__init__(desc=generate_random_map(LAKE_SIZE, seed=0), **kwargs)
        self.maps, self._kwargs = maps, kwargs

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        gym.Env.reset(self, seed=seed)
        rng = self.np_random
        while True:
            desc = generate_random_map(LAKE_SIZE, seed=int(rng.integers(2**31)))
            if SPLITS[crc32("".join(desc).encode()) % 2] == self.maps:
                break
        self.close()
        super().__init__(desc=desc, **self._kwargs)
        self.np_random = rng
        return super().reset(options=options)


gym.register("HandEye/FrozenLake-v1", entry_point=f"{__name__}:Lake", max_episode_steps=30)


def _stock(
    name: str,
    env_id: str,
    instruction: str,
    success: SuccessRule,
    split: str = "practice",
    expert: Callable[[gym.Env], Any] | None = None,
    sight: Sight | None = None,
    own: Sight | None = None,
    **more: Any,
) -> Task:
    """A task whose expert, if there is one, thinks what there is to see; `own` is what the robot knows of itself."""
    shown = expert and (lambda env: (sight.say(env) if sight else "", expert(env)))
    return Task(
        name,
        env_id,
        "stock",
        split,
        success=success,
        instruction=lambda env: instruction,
        expert=shown,
        **(told(instruction, sight, own) if sight else {}),
        **more,
    )


STOCK = (
    _stock(
        "cartpole",
        "CartPole-v1",
        "keep the pole upright and the cart on the track",
        SuccessRule("return", at_least=475, source=REGISTRY),
        frames=2,
        actions=("left", "right"),
        expert=experts.cartpole,
        sight=sights.CARTPOLE,
    ),
    _stock(
        "mountain-car",
        "MountainCar-v0",
        "swing the car up to the flag",
        SuccessRule("terminated", at_least=1, source="it ends at the flag"),
        frames=2,
        repeat=4,  # it moves slowly, and pictures of neighbouring steps hardly differ
        actions=("left", "still", "right"),
        expert=experts.mountain_car,
        sight=sights.MOUNTAIN_CAR,
    ),
    _stock(
        "acrobot",
        "Acrobot-v1",
        "swing the tip of the lower link above the line",
        SuccessRule("return", at_least=-100, source=REGISTRY),
        frames=2,
        actions=("clockwise", "still", "counterclockwise"),
        expert=experts.acrobot,
        sight=sights.ACROBOT,
    ),
    _stock(
        "pendulum",
        "Pendulum-v1",
        "swing the pendulum up and keep it upright",
        SuccessRule("reward", at_least=-0.1, source="upright at the end, within 18 degrees"),
        frames=2,
        expert=experts.pendulum,
        sight=sights.PENDULUM,
    ),
    *(
        _stock(
            "frozen-lake" + ("" if split == "practice" else "-heldout"),
            "HandEye/FrozenLake-v1",
            "walk over the ice to the flag, around the holes",
            SuccessRule("reward", at_least=1, source="it rewards nothing but the goal"),
            split,
            kwargs={"maps": split, "is_slippery": False},
            actions=COMPASS,
            expert=experts.planned,
            sight=sights.lake(LAKE_SIZE),
        )
        for split in SPLITS
    ),
    _stock(
        "cliff-walking",
        "CliffWalking-v1",
        "walk to the flag, not over the cliff",
        SuccessRule("terminated", at_least=1, source="it ends at the goal"),
        kwargs={"max_episode_steps": 50},
        actions=("up", "right", "down", "left"),
        expert=experts.planned,
        sight=sights.CLIFF,
    ),
    _stock(
        "taxi",
        "Taxi-v4",
        "pick up the passenger and drop them off at the house",
        SuccessRule("terminated", at_least=1, source="it ends when the passenger is where they want to be"),
        frames=2,  # it turns as it is drawn: a state is returned to by drawing it all again
        actions=("south", "north", "east", "west", "pick", "drop"),
        expert=experts.planned,
        sight=sights.TAXI,
    ),
    _stock(
        "lunar-lander",
        "LunarLander-v3",
        "land between the flags",
        SuccessRule("return", at_least=200, source=REGISTRY),
        frames=2,
        actions=("nothing", "left", "main", "right"),
        expert=experts.lander,
        sight=sights.LUNAR_LANDER,
    ),
    _stock(
        "reacher",
        "Reacher-v5",
        "bring the tip of the arm to the red dot",
        SuccessRule("reward_dist", at_least=-0.02, at_the_end=True, source="the tip on the target, within 2 cm"),
        cameras=QUARTERS,
        levels=21,
        expert=reacher.expert,
        sight=reacher.SEEN,
        own=reacher.ARM,
        hindsight=reacher.correct,
        called_for=reacher.called_for,
        settled=reacher.settled,
    ),
    _stock(
        "pusher",
        "Pusher-v5",
        "push the white cylinder to the red spot",
        SuccessRule("reward_dist", at_least=-0.08, source="the cylinder's centre over the spot, of radius 8 cm"),
        cameras=({"lookat": (0.1, -0.2, -0.3), "distance": 2.6, "azimuth": 90.0, "elevation": -60.0},),
        frames=2,
    ),
    _stock(
        "inverted-pendulum",
        "InvertedPendulum-v5",
        "keep the pole upright",
        SuccessRule("return", at_least=950, source=REGISTRY),
        cameras=({"lookat": (0, 0, 0.3), "distance": 2.0, "azimuth": 90.0, "elevation": -10.0},),
        frames=2,
        expert=experts.inverted_pendulum,
        sight=sights.INVERTED_PENDULUM,
    ),
    _stock(
        "half-cheetah",
        "HalfCheetah-v5",
        "run to the right as fast as you can",
        SuccessRule("return", at_least=4800, source=REGISTRY),
        frames=2,
    ),
    _stock(
        "hopper",
        "Hopper-v5",
        "hop to the right without falling",
        SuccessRule("return", at_least=3800, source=REGISTRY),
        frames=2,
    ),
)
