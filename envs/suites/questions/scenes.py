"""Questions about scenes of the tabletop, written in ScienceQA's layout: of choices, and with lengths as free answers.

`handeye questions FOLDER` writes them. Nothing but the picture tells an answer: of each sort of question every letter
is right equally often and, where there are few possible answers, each of these is, and the two are drawn independently.
Every question has a scene of its own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from envs.errors import UserError
from envs.rendering import renderer_for
from envs.suites.tabletop.scene import COLOURS, OBJECT_SLOTS, OBJECTS, PADS, SHAPES, Scene
from envs.suites.tabletop.words import BIN_WIDTH, from_the_left, say, say_way

IMAGE_SIZE = 64  # [px]
EDGE = 0.19  # [m] things lie at most so far from the middle, on both axes
CLEARANCE = 0.10  # [m] between things
LIFT = 0.0  # [m] of the gripper: higher, it would be seen beside its place
APART = 0.04  # [m] of difference at least between what is compared: five pixels
LENGTHS = range(10, 31)  # [cm]
SIDES = {"left": -1, "right": 1}
T = TypeVar("T")
Places = dict[str, np.ndarray]  # name -> (2,) [m]


@dataclass(frozen=True)
class _Asked:
    """A question about a scene. choices: the right one first; none where the answer is free.

    solution: what is seen, part by part in the words of the tabletop's captions, and what follows.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    solution: tuple[str, ...]
    gripper: np.ndarray  # (2,) [m]
    things: Places


def nearer(answer: None, rng: np.random.Generator) -> _Asked:
    """Which of three objects is nearest to the gripper."""
    names = _some(OBJECTS, 3, rng)

    def fits(places: Sequence[np.ndarray]) -> bool:
        near, *others = (np.linalg.norm(place - places[0]) for place in places[1:])
        return min(others) - near > APART

    gripper, *places = _drawn(4, rng, fits)
    things = dict(zip(names, places, strict=True))
    far = (f"{say(name, things[name])} by {_bins(gripper, things[name])}" for name in from_the_left(things))
    solution = (say("gripper", gripper), *far, names[0])
    return _Asked("Which object is nearest to the gripper?", tuple(names), names[0], solution, gripper, things)


def colour(answer: str, rng: np.random.Generator) -> _Asked:
    """What colour the only object of its shape has."""
    shape, *others = _some(SHAPES, 3, rng)
    wrong = _some([name for name in COLOURS if name != answer], 3, rng)
    names = [f"{answer} {shape}", *(f"{rng.choice([*COLOURS])} {other}" for other in others)]
    gripper, *places = _drawn(4, rng)
    things = dict(zip(names, places, strict=True))
    solution = (say(names[0], places[0]), answer)
    return _Asked(f"What colour is the {shape}?", (answer, *wrong), answer, solution, gripper, things)


def shape(answer: str, rng: np.random.Generator) -> _Asked:
    """What shape the only object of its colour has."""
    name, *others = _some(COLOURS, 3, rng)
    wrong = [other for other in SHAPES if other != answer]
    names = [f"{name} {answer}", *(f"{other} {rng.choice(SHAPES)}" for other in others)]
    gripper, *places = _drawn(4, rng)
    things = dict(zip(names, places, strict=True))
    solution = (say(names[0], places[0]), answer)
    return _Asked(f"What shape is the {name} object?", (answer, *wrong), answer, solution, gripper, things)


def count(answer: str, rng: np.random.Generator) -> _Asked:
    """How many objects there are; pads are none."""
    names = [*_some(OBJECTS, int(answer), rng), *_some(PADS, int(rng.integers(3)), rng)]
    wrong = [str(n) for n in range(1, OBJECT_SLOTS + 1) if str(n) != answer]
    gripper, *places = _drawn(len(names) + 1, rng)
    things = dict(zip(names, places, strict=True))
    counted = (say(name, things[name]) for name in from_the_left(things) if name in OBJECTS)
    solution = (*counted, answer)
    return _Asked("How many objects are on the table beside pads?", (answer, *wrong), answer, solution, gripper, things)


def beside(answer: None, rng: np.random.Generator) -> _Asked:
    """What lies to one side of an object; another lies to the other side, and a third is not there."""
    middle, right, wrong, absent = _some(OBJECTS, 4, rng)
    side = str(rng.choice([*SIDES]))

    def fits(places: Sequence[np.ndarray]) -> bool:
        offset = SIDES[side] * (np.array(places[2:])[:, 0] - places[1][0])
        return offset[0] > APART and offset[1] < -APART

    gripper, *places = _drawn(4, rng, fits)
    things = dict(zip((middle, right, wrong), places, strict=True))
    solution = (*(say(name, things[name]) for name in from_the_left(things)), right)
    question, choices = f"What lies to the {side} of the {middle}?", (right, wrong, absent)
    return _Asked(question, choices, right, solution, gripper, things)


def between(answer: int, rng: np.random.Generator) -> _Asked:
    """How far an object is from a pad, in centimetres, from middle to middle."""
    (obj, other), (pad,) = _some(OBJECTS, 2, rng), _some(PADS, 1, rng)
    (gripper, place), ends = _at_length(answer, 2, rng)
    things = dict(zip((other, obj, pad), (place, *ends), strict=True))
    solution = (say(obj, ends[0]), f"{say(pad, ends[1])} {say_way(*ends)}")
    return _Asked(f"How far apart are the {obj} and the {pad}?", (), f"{answer} cm", solution, gripper, things)


def reach(answer: int, rng: np.random.Generator) -> _Asked:
    """How far the gripper is from an object, in centimetres, from middle to middle."""
    names = _some(OBJECTS, 2, rng)
    places, (gripper, end) = _at_length(answer, 1, rng)
    things = dict(zip(names, (end, *places), strict=True))
    solution = (say("gripper", gripper), f"{say(names[0], end)} {say_way(gripper, end)}")
    return _Asked(f"How far is the gripper from the {names[0]}?", (), f"{answer} cm", solution, gripper, things)


CHOICES = {  # what is asked -> the answers that are to be equally frequent, where they are few
    nearer: (None,),
    colour: tuple(COLOURS),
    shape: SHAPES,
    count: tuple(str(n) for n in range(1, OBJECT_SLOTS + 1)),
    beside: (None,),
}
FREE = {between: tuple(LENGTHS), reach: tuple(LENGTHS)}


def write(folder: Path, sizes: Mapping[str, int], seed: int, image_size: int = IMAGE_SIZE) -> None:
    """FOLDER/choices and FOLDER/free, each with as many questions of train, val and test as `sizes` says.

    image_size: [px] of a picture's side; the questions do not depend on it.

    The same sizes and seed write the same. Raises UserError for a folder that exists.
    """
    if folder.exists():
        raise UserError(f"folder {str(folder)!r} exists; valid: one that does not")
    scene = Scene()
    for kind, asked in (("choices", CHOICES), ("free", FREE)):
        problems: dict[str, dict] = {}
        for number, (part, n) in enumerate(sizes.items()):
            rng = np.random.default_rng([seed, number, len(asked)])
            for one in _questions(asked, n, rng):
                name = str(len(problems) + 1)
                problems[name] = one[1] | {"hint": "", "image": "image.png", "split": part}
                place = folder / kind / "images" / part / name
                place.mkdir(parents=True)
                Image.fromarray(_picture(scene, one[0], image_size)).save(place / "image.png", optimize=True)
        (folder / kind / "problems.json").write_text(json.dumps(problems, indent=1) + "\n")


def _questions(
    asked: Mapping[Callable, Sequence], n: int, rng: np.random.Generator
) -> list[tuple[_Asked, dict[str, object]]]:
    """`n` questions, as many of each sort, in no order, with what ScienceQA says of each."""
    result = []
    for i, (ask, answers) in enumerate(asked.items()):
        share = len(range(i, n, len(asked)))
        drawn = [ask(answer, rng) for answer in _balanced(answers, share, rng)]
        places = _balanced(range(len(drawn[0].choices)), share, rng) if drawn and drawn[0].choices else [0] * share
        result += [(one, _told(one, place, rng)) for one, place in zip(drawn, places, strict=True)]
    return [result[i] for i in rng.permutation(len(result))]


def _told(one: _Asked, place: int, rng: np.random.Generator) -> dict[str, object]:
    """The question with its choices in an order of its own, the right one at `place`."""
    solution = "; ".join(one.solution)
    if not one.choices:
        return {"question": one.question, "answer": one.answer, "solution": solution}
    choices = _some(one.choices[1:], len(one.choices) - 1, rng)
    choices.insert(place, one.answer)
    return {"question": one.question, "choices": choices, "answer": int(place), "solution": solution}


def _picture(scene: Scene, one: _Asked, size: int) -> np.ndarray:
    objects, pads = ({n: p for n, p in one.things.items() if n in valid} for valid in (OBJECTS, PADS))
    scene.arrange(one.gripper, objects, pads, LIFT)
    return renderer_for(scene.model, size).render(scene.model, scene.data, "top")


def _bins(start: np.ndarray, end: np.ndarray) -> int:
    """How far it is, in the bins of the words for a place."""
    return round(float(np.linalg.norm(end - start)) / BIN_WIDTH)


def _some(names: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    return [str(name) for name in rng.choice(list(names), n, replace=False)]


def _balanced(values: Sequence[T], n: int, rng: np.random.Generator) -> list[T]:
    """Each of the values equally often, up to one, in no order."""
    every = list(islice(cycle([values[i] for i in rng.permutation(len(values))]), n))
    return [every[i] for i in rng.permutation(n)]


def _drawn(
    n: int, rng: np.random.Generator, fits: Callable[[Sequence[np.ndarray]], bool] = lambda places: True
) -> list[np.ndarray]:
    """`n` places apart from each other, each (2,) [m]."""
    while True:
        places = list(rng.uniform(-EDGE, EDGE, (n, 2)))
        if _clear(places) and fits(places):
            return places


def _at_length(centimetres: int, others: int, rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Other places, and two at this distance, all (2,) [m]."""
    while True:
        start, angle = rng.uniform(-EDGE, EDGE, 2), rng.uniform(0, 2 * np.pi)
        ends = [start, start + centimetres / 100 * np.array([np.cos(angle), np.sin(angle)])]
        places = list(rng.uniform(-EDGE, EDGE, (others, 2)))
        if np.abs(ends[1]).max() < EDGE and _clear([*places, *ends]):
            return places, ends


def _clear(places: Sequence[np.ndarray]) -> bool:
    return all(np.linalg.norm(a - b) >= CLEARANCE - 1e-9 for i, a in enumerate(places) for b in places[:i])
