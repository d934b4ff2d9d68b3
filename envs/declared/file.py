"""Any Gymnasium environment, or any set of questions, as a task, from a YAML file and without code."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from envs.declared import ranges
from envs.declared.instructions import EnvInstruction, instructions
from envs.declared.language import with_numbers, with_words
from envs.declared.measured import measured
from envs.declared.numbers import AUTO, parts_of
from envs.errors import UserError, shown
from envs.foreign.making import WrapperSpec
from envs.foreign.paths import parts
from envs.foreign.resets.remade import Reset
from envs.foreign.teaching import shown_by
from envs.language import FixedInstruction, Language
from envs.suites.questions.tasks import question_task
from envs.task import DECLARED, IMAGE_SIZE, SIZES, ActionWords, EnvSpec, Task, Teacher
from envs.validation import STRICT, Count, checked, read
from envs.wrappers import AnyRule, Fit, SuccessRule

Size = Annotated[int, Field(ge=SIZES.start, lt=SIZES.stop)]  # [px] of a frame's side
Camera = str | dict[str, Any]  # a name, or the fields of a free camera
Cameras = Annotated[
    tuple[Camera, ...], Field(min_length=1), BeforeValidator(lambda one: one if isinstance(one, list) else [one])
]
Sentence = Annotated[str, Field(min_length=1)]
INSTRUCTION = "valid: a text, or {of: PATH}, such as {of: observation.mission}, with words: [...] beside it"


@dataclass(frozen=True, config=STRICT)
class InstructionPath:
    """An instruction that the environment tells itself. of: its path, see `envs.foreign.paths`.

    words: that instructions are made of, for a tokenizer; without any, those of some resets.
    """

    of: Sentence
    words: tuple[Sentence, ...] = ()


def _instruction(given: Any) -> str | InstructionPath:
    if isinstance(given, dict):
        path = checked(InstructionPath, given)
        parts(path.of)
        return path
    if not isinstance(given, str) or not given:
        raise UserError(f"instruction = {shown(given)}; {INSTRUCTION}")
    return given


def _wrapper(given: Any) -> WrapperSpec:
    return checked(WrapperSpec, given if isinstance(given, dict) else {"path": given})


@dataclass(frozen=True, config=STRICT)
class Declared:
    """What a file says of a task. max_steps: of `env.step`; null: as the environment is
    registered, which is then a number.

    repeat, levels: null: as they were measured (`envs.declared.measured`), or 1 and 9. expert: who shows the task, as
    `envs.foreign.teaching` has it.
    reset: what an episode needs so that its seed decides it (`envs.foreign.resets.remade.Reset`); auto: what is found
    by trying. exact: its episodes happen again; false: it is played without certificates and branches.
    instruction: a text, or where the environment tells one for each episode. success: a rule, or a list of them, of
    which any is enough. imports, wrappers, bounds, fit, still: see `EnvSpec`.
    cameras: one, or several in a list, each an image of its own. frames: moments that make an observation. See
    `envs.task.EnvSpec` for their order. image_size: [px]; a policy may ask for another. legend: sentences that say what
    the numbers and names of an action mean, and what the pictures show (see `Language`). sees: the state in words, part
    -> its numbers, or `auto` (see `envs.declared.numbers`). thinks: an answer begins with what is seen, in those words.
    """

    id: Sentence
    instruction: Any
    success: SuccessRule
    kwargs: dict[str, Any] = Field(default_factory=dict)
    max_steps: Count | None = None
    repeat: Count | None = None
    cameras: Cameras = Field(("",), validation_alias=AliasChoices("cameras", "camera"))
    image_size: Size = IMAGE_SIZE
    frames: Annotated[int, Field(ge=1, le=64)] = 1
    levels: Annotated[int, Field(ge=3)] | None = None
    actions: tuple[str, ...] = ()
    legend: tuple[Sentence, ...] = ()
    reset: Literal["auto", "as_is", "own_generators", "anew"] = "auto"
    exact: bool = True
    split: Literal["practice", "heldout"] = "practice"
    sees: Any = None  # checked by `parts_of`, whose errors name the part
    thinks: bool = True
    expert: Any = None  # checked by `shown_by`
    imports: tuple[Sentence, ...] = ()
    wrappers: tuple[Any, ...] = ()
    bounds: Any = None  # checked by `envs.foreign.spaces.bounded`
    fit: Fit = "letterbox"  # registered tasks squash: published numbers and the seed policy rest on their pictures
    still: bool = False


@dataclass(frozen=True, config=STRICT)
class DeclaredQuestions:
    """What a file says of questions about pictures. questions: a folder, in a layout of `suites/questions/vqa_data.py`,
    relative to the file's own folder, or, where there is none of that name, to the working one.

    solutions: an answer says first how it comes about, as the set's column `solution` does.
    """

    questions: str
    answers: Literal["choices", "free"] = "choices"
    image_size: Size = IMAGE_SIZE
    solutions: bool = False
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01  # of a free answer, relative


@cache
def declared(path: str) -> Task:
    """The task in a YAML file, whose name is the file's path. Raises UserError naming file and key or value."""
    values = read(Path(path))
    try:
        return _task(path, values)
    except UserError as error:
        raise UserError(f"task {path!r}: {error}") from error


@cache
def unseen(path: str) -> Task:
    """The task in a YAML file without the words for its state, for what they are measured with: random play and an
    expert, which need none. Raises UserError as `declared` does."""
    values = read(Path(path))
    try:
        parts = {} if values.get("sees") in (None, AUTO) else parts_of(values["sees"])
        plain = {key: value for key, value in values.items() if key != "sees"}
        return with_numbers(_task(path, plain), parts)
    except UserError as error:
        raise UserError(f"task {path!r}: {error}") from error


def forget() -> None:
    """Read files anew from now on: one was written."""
    declared.cache_clear(), unseen.cache_clear()


def ranges_file(path: str) -> Path | None:
    """The file beside a task's file that holds measured ranges of its state words; None where it needs none.

    Raises UserError as `declared` does.
    """
    try:
        return ranges.file_of(Path(path), read(Path(path)))
    except UserError as error:
        raise UserError(f"task {path!r}: {error}") from error


def _task(path: str, values: dict[str, Any]) -> Task:
    if "questions" in values:
        asked = checked(DeclaredQuestions, values)
        more = {"tolerance": asked.tolerance} if asked.answers == "free" else {}
        beside = Path(path).parent / asked.questions
        folder = str(beside) if beside.is_dir() else asked.questions
        return question_task(path, folder, asked.answers, asked.image_size, asked.solutions, **more)
    rules = values["success"] if isinstance(values.get("success"), list) else [values.get("success")]
    checks = [checked(Declared, values | {"success": rule} if rules != [None] else values) for rule in rules]
    if not checks:
        raise UserError("success = []; valid: a rule such as {of: success, at_least: 1}, or a list of them")
    spec, rules = checks[0], tuple(check.success for check in checks)
    if spec.max_steps and "max_episode_steps" in spec.kwargs:
        both = f"max_steps = {spec.max_steps} and kwargs.max_episode_steps = {spec.kwargs['max_episode_steps']!r}"
        raise UserError(f"{both}; valid: one of them")
    found = measured(path)
    limit = {"max_episode_steps": spec.max_steps} if spec.max_steps else {}
    instruction = _instruction(spec.instruction)
    task = Task(
        path,
        DECLARED,
        spec.split,
        EnvSpec(
            spec.id,
            spec.kwargs | limit,
            success=rules[0] if len(rules) == 1 else AnyRule(rules),
            image_size=spec.image_size,
            cameras=spec.cameras,
            frames=spec.frames,
            repeat=spec.repeat or found.repeat or 1,
            imports=spec.imports,
            wrappers=tuple(map(_wrapper, spec.wrappers)),
            bounds=spec.bounds,
            held=(instruction.of,) if isinstance(instruction, InstructionPath) else (),
            fit=spec.fit,
            still=spec.still,
            reset=None if spec.reset == "auto" else Reset(spec.reset),
        ),
        actions=ActionWords(spec.levels or found.levels or ActionWords.levels, spec.actions),
        teacher=Teacher(shown_by=shown_by(spec.expert, Path(path).parent, spec.repeat or 1, spec.image_size)),
        exact=spec.exact,
    )
    task = replace(task, language=_language(task, instruction, spec.legend))
    if spec.sees is None:
        return task
    return with_words(task, ranges.complete(Path(path), spec.sees), spec.thinks)


def _language(task: Task, instruction: str | InstructionPath, legend: tuple[str, ...]) -> Language:
    if isinstance(instruction, str):
        return FixedInstruction(instruction, tuple(instruction.split()), legend)
    language = EnvInstruction(instruction.of, instruction.words, legend)
    return replace(language, sampled=partial(instructions, replace(task, language=language).make, instruction.of))
