"""Gymnasium's own tasks, given an instruction and a rule of success."""

from collections.abc import Callable
from typing import Any
from zlib import crc32

import gymnasium as gym
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

from envs.language import FixedInstruction, StateLanguage, StateWords
from envs.suites.gymnasium_own import experts, reacher, state_words
from envs.task import ActionWords, EnvSpec, Task, state_teacher
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
    env: EnvSpec,
    language: FixedInstruction | StateLanguage,
    expert: Callable[[gym.Env], Any] | None = None,
    actions: ActionWords = ActionWords(),  # noqa: B008 (frozen)
    split: str = "practice",
) -> Task:
    """language: a plain one, for a task whose state has no words. expert: env -> action."""
    if isinstance(language, FixedInstruction):
        return Task(name, "stock", split, env, actions=actions, language=language)
    teacher = state_teacher(language, expert)
    return Task(name, "stock", split, env, actions=actions, language=language, teacher=teacher)


def _language(instruction: str, seen: StateWords, legend: tuple[str, ...]) -> StateLanguage:
    return StateLanguage(instruction, seen, legend=legend)


LAKE = _language(
    "walk over the ice to the flag, around the holes", state_words.lake(LAKE_SIZE), state_words.LAKE_LEGEND
)  # one object: the two tasks are one but for their maps
PUSHER = (
    "The action is the torque at each joint of the arm, in this order: the shoulder's pan, the shoulder's lift, the "
    "upper arm's roll, the elbow, the forearm's roll, the wrist's bend, the wrist's roll; at most 2 N m.",
)
CHEETAH = (
    "The action is the torque at each joint, in this order: thigh, shin and foot of the back leg, then of the front "
    "leg.",
)
HOPPER = ("The action is the torque at each joint, in this order: thigh, leg, foot.",)

STOCK = (
    _stock(
        "cartpole",
        EnvSpec("CartPole-v1", success=SuccessRule("return", at_least=475, source=REGISTRY), frames=2),
        _language("keep the pole upright and the cart on the track", state_words.CARTPOLE, state_words.CARTPOLE_LEGEND),
        experts.cartpole,
        ActionWords(names=("left", "right")),
    ),
    _stock(
        "mountain-car",
        EnvSpec(
            "MountainCar-v0",
            success=SuccessRule("terminated", at_least=1, source="it ends at the flag"),
            frames=2,
            repeat=4,  # it moves slowly, and pictures of neighbouring steps hardly differ
        ),
        _language("swing the car up to the flag", state_words.MOUNTAIN_CAR, state_words.MOUNTAIN_CAR_LEGEND),
        experts.mountain_car,
        ActionWords(names=("left", "still", "right")),
    ),
    _stock(
        "acrobot",
        EnvSpec("Acrobot-v1", success=SuccessRule("return", at_least=-100, source=REGISTRY), frames=2),
        _language("swing the tip of the lower link above the line", state_words.ACROBOT, state_words.ACROBOT_LEGEND),
        experts.acrobot,
        ActionWords(names=("clockwise", "still", "counterclockwise")),
    ),
    _stock(
        "pendulum",
        EnvSpec(
            "Pendulum-v1",
            success=SuccessRule("reward", at_least=-0.1, source="upright at the end, within 18 degrees"),
            frames=2,
        ),
        _language("swing the pendulum up and keep it upright", state_words.PENDULUM, state_words.PENDULUM_LEGEND),
        experts.pendulum,
    ),
    *(
        _stock(
            "frozen-lake" + ("" if split == "practice" else "-heldout"),
            EnvSpec(
                "HandEye/FrozenLake-v1",
                {"maps": split, "is_slippery": False},
                SuccessRule("reward", at_least=1, source="it rewards nothing but the goal"),
            ),
            LAKE,
            experts.planned,
            ActionWords(names=COMPASS),
            split,
        )
        for split in SPLITS
    ),
    _stock(
        "cliff-walking",
        EnvSpec(
            "CliffWalking-v1",
            {"max_episode_steps": 50},
            SuccessRule("terminated", at_least=1, source="it ends at the goal"),
        ),
        _language("walk to the flag, not over the cliff", state_words.CLIFF, state_words.CLIFF_LEGEND),
        experts.planned,
        ActionWords(names=("up", "right", "down", "left")),
    ),
    _stock(
        "taxi",
        EnvSpec(
            "Taxi-v4",
            success=SuccessRule("terminated", at_least=1, source="it ends when the passenger is where they want to be"),
            frames=2,  # it turns as it is drawn: a state is returned to by drawing it all again
        ),
        _language("pick up the passenger and drop them off at the house", state_words.TAXI, state_words.TAXI_LEGEND),
        experts.planned,
        ActionWords(names=("south", "north", "east", "west", "pick", "drop")),
    ),
    _stock(
        "lunar-lander",
        EnvSpec("LunarLander-v3", success=SuccessRule("return", at_least=200, source=REGISTRY), frames=2),
        _language("land between the flags", state_words.LUNAR_LANDER, state_words.LUNAR_LANDER_LEGEND),
        experts.lander,
        ActionWords(names=("nothing", "left", "main", "right")),
    ),
    _stock(
        "reacher",
        EnvSpec(
            "Reacher-v5",
            success=SuccessRule(
                "reward_dist", at_least=-0.02, at_the_end=True, source="the tip on the target, within 2 cm"
            ),
            cameras=QUARTERS,
        ),
        reacher.LANGUAGE,
        reacher.expert,
        ActionWords(levels=21),
    ),
    _stock(
        "pusher",
        EnvSpec(
            "Pusher-v5",
            success=SuccessRule(
                "reward_dist", at_least=-0.08, source="the cylinder's centre over the spot, of radius 8 cm"
            ),
            cameras=({"lookat": (0.1, -0.2, -0.3), "distance": 2.6, "azimuth": 90.0, "elevation": -60.0},),
            frames=2,
        ),
        FixedInstruction("push the white cylinder to the red spot", legend=PUSHER),
    ),
    _stock(
        "inverted-pendulum",
        EnvSpec(
            "InvertedPendulum-v5",
            success=SuccessRule("return", at_least=950, source=REGISTRY),
            cameras=({"lookat": (0, 0, 0.3), "distance": 2.0, "azimuth": 90.0, "elevation": -10.0},),
            frames=2,
        ),
        _language("keep the pole upright", state_words.INVERTED_PENDULUM, state_words.INVERTED_PENDULUM_LEGEND),
        experts.inverted_pendulum,
    ),
    _stock(
        "half-cheetah",
        EnvSpec("HalfCheetah-v5", success=SuccessRule("return", at_least=4800, source=REGISTRY), frames=2),
        FixedInstruction("run to the right as fast as you can", legend=CHEETAH),
    ),
    _stock(
        "hopper",
        EnvSpec("Hopper-v5", success=SuccessRule("return", at_least=3800, source=REGISTRY), frames=2),
        FixedInstruction("hop to the right without falling", legend=HOPPER),
    ),
)
