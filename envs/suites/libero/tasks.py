"""LIBERO's 130 tasks, by suite and number, such as `libero-spatial-3`: the fourth of `libero_spatial`."""

from envs.language import Bins, FixedInstruction, Language, StateLanguage, StateWords
from envs.suites.libero import experts
from envs.suites.libero.experts import Carried
from envs.suites.libero.names import SUITES, instruction
from envs.task import ActionWords, EnvSpec, Task, Teacher, state_teacher
from envs.wrappers import SuccessRule

# Steps of an episode that vision-language-action models are evaluated with (Kim et al., 2024, OpenVLA).
MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
REPEAT = 2
N = experts.N
FLOOR = (Bins(-0.4, 0.3, N), Bins(-0.4, 0.4, N), Bins(0.0, 0.5, N))  # [m] where hand and things come
TABLE = (Bins(-0.5, 0.3, N), Bins(-0.4, 0.4, N), Bins(0.85, 1.35, N))  # [m]
# [m] above its middle that each thing of libero_object is grasped, by the task's number.
GRASPED = {
    0: ("alphabet_soup", 0.0),
    1: ("cream_cheese", 0.0),
    2: ("salad_dressing", 0.07),
    3: ("bbq_sauce", 0.02),
    4: ("ketchup", 0.05),
    5: ("tomato_sauce", 0.0),
    6: ("butter", 0.0),
    7: ("milk", 0.035),
    8: ("chocolate_pudding", 0.0),
    9: ("orange_juice", 0.045),
}
IN_BASKET = {
    index: Carried(f"{thing}_1_main", "basket_1_main", grasp=(0.0, 0.0, above))
    for index, (thing, above) in GRASPED.items()
}
# A bowl is grasped by its rim. In 4 it lies in a drawer; in 6 a box is where a finger would go.
ONTO_PLATE = Carried("akita_black_bowl_1_main", "plate_1_main", grasp=(0.0, 0.05, 0.02), lift=0.1, drop=0.04)
CARRIED: dict[str, dict[int, Carried]] = {
    "libero_object": IN_BASKET,
    "libero_spatial": dict.fromkeys((0, 1, 2, 3, 5, 7, 8), ONTO_PLATE),
}


VIEWS = "The first picture is taken from the hand, the second across the scene, towards the robot."
AXES = "The axes are x, ahead of the robot, y, to its left, and z, up."
MOVES = (
    "The action moves the hand along x, y and z, 5 cm at most, turns it about these axes, 0.5 rad at most, and shuts "
    "(+) or opens (-) the fingers."
)


def _legend(space: tuple[Bins, ...]) -> tuple[str, ...]:
    x, y, z = (f"from {axis.low:g} to {axis.high:g} m" for axis in space)
    return (
        VIEWS,
        f"{AXES} A place is a bin on each, {N} of them: x {x}, y {y}, z {z}.",
        "`thing` is what is to be picked up and `target` what it is to be put into or onto: their places. `reach` is "
        "the way from the hand to where the thing is grasped, `way` that from the thing to the target, on each axis, "
        "7.8 mm a level.",
        "`hand` is its place. `fingers` are how far apart they are, 16 levels up to 8 cm, and how fast they open, "
        "5 cm/s a level.",
        MOVES,
    )


def _taught(text: str, carried: Carried, space: tuple[Bins, ...]) -> tuple[Language, Teacher]:
    ways = {"reach": experts.REACH, "way": experts.REACH}
    seen = StateWords({"thing": space, "target": space, **ways}, carried.numbers)
    own = StateWords({"hand": space, "fingers": (experts.OPENING, experts.SPEED)}, carried.numbers)
    language = StateLanguage(text, seen, own, _legend(space))
    return language, state_teacher(language, carried.act)


def _task(suite: str, index: int, name: str) -> Task:
    text = instruction(name)
    carried = CARRIED.get(suite, {}).get(index)
    if carried:
        language, teacher = _taught(text, carried, FLOOR if suite == "libero_object" else TABLE)
    else:
        language, teacher = FixedInstruction(text, tuple(text.split()), (f"{VIEWS} {AXES}", MOVES)), Teacher()
    tag = suite.replace("_", "-")
    return Task(
        f"{tag}-{index}",
        "libero",
        "practice",
        EnvSpec(
            "HandEye/Libero-v0",
            {"suite": suite, "index": index, "max_episode_steps": MAX_STEPS[suite]},
            SuccessRule("success", at_least=1, source="LIBERO's own"),
            cameras=("robot0_eye_in_hand", "agentview"),
            repeat=REPEAT,
        ),
        tags=(tag,),
        actions=ActionWords(levels=21),
        language=language,
        teacher=teacher,
    )


LIBERO = tuple(_task(suite, index, name) for suite, names in SUITES.items() for index, name in enumerate(names))
