"""How a model is asked: to act, to judge an answer, to revise it, to judge an ending.

The embedded policy learned its telegraphic prompts from nothing (`Terse`). A pretrained model has never met them. It is
asked in conversations (`Chat`): a system text says what is shown and how to answer, example turns show it (in-context
learning, Brown et al., 2020), and critique and revision are later turns, which share what was read of the first ones.
A policy is trained in the dialect in which it is asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Protocol

import numpy as np

from envs.language import Language
from envs.observation import Observation
from envs.registry import TASKS
from envs.snapshot import Restorable
from envs.splits import SPLITS
from envs.starts import reserved, search
from envs.task import Task
from policies import prompt
from policies.action_codec import AnswerCodec, BoxCodec, action_of, codec_for, joined, levels_of
from policies.backend import TemplateTraits
from policies.backends.settings import ModelSettings
from policies.baselines import ExpertPolicy, has_expert
from policies.forms import draw, in_words
from policies.prompt import Message, assistant, user

FIRST_EXAMPLE = 990_000  # the first practice seed that examples come from
CANDIDATES = 4  # starts looked at, at most, for each example
WANDER = 8  # an example lies fewer than these steps into an episode


class Dialect(Protocol):
    """Prompts of one task. Each has as many image placeholders as there are frames, all in one user turn.

    `critic_prefix` begins with the words of `act`, and `judge` with those of `critic_prefix` (see `Backend.extend`).
    """

    def act(self, observation: Observation) -> list[Message]:
        """What should be done now?"""
        ...

    def critic_prefix(self, observation: Observation, seen: str) -> list[Message]:
        """What all questions of `judge` about one observation share. seen: the critic's own thought."""
        ...

    def judge(self, observation: Observation, seen: str, answer: str) -> list[Message]:
        """Will the action of this answer work? Answered by a reason and `yes` or `no`."""
        ...

    def revise(self, observation: Observation, answer: str, critique: str) -> list[Message]:
        """What should be done instead of an answer, given its critique?"""
        ...

    def done(self, end: Observation) -> list[Message]:
        """Is the task done, given an episode's first and last frame? Answered by what is seen, and `yes` or `no`."""
        ...

    def ask(self, question: str, n_images: int) -> list[Message]:
        """A question about a scene, answered from captions."""
        ...


DialectOf = Callable[[str], Dialect]  # a task's name -> how its policy is asked about that task


class Terse:
    """The embedded policy's prompts, alike for every task: the frames, then words that its tokenizer has (`prompt`)."""

    act = staticmethod(prompt.act)
    critic_prefix = staticmethod(prompt.critic_prefix)
    judge = staticmethod(prompt.judge)
    revise = staticmethod(prompt.revise)
    done = staticmethod(prompt.done)
    ask = staticmethod(prompt.user)


TERSE = Terse()


def terse(task: str) -> Dialect:
    """The `DialectOf` of the embedded policy."""
    return TERSE


@dataclass(frozen=True)
class Chat:
    """A conversation about one task.

    shown: what is shown, and what its words and numbers mean. form: how to answer. examples: situations and answers.
    good, finished: the questions whether an action will work, and whether the task is done. system: whether the model's
    template renders a system message; without one, its text begins the first user turn.
    """

    shown: str
    form: str
    examples: tuple[tuple[str, str], ...]
    good: str
    finished: str
    system: bool = True

    def act(self, observation: Observation) -> list[Message]:
        turns = [turn for asked, answer in self.examples for turn in (*user(asked, 0), *assistant(answer))]
        return self._begun(f"{self.shown} {self.form}", turns + user(_situation(observation), observation.n_frames))

    def critic_prefix(self, observation: Observation, seen: str) -> list[Message]:
        """The conversation so far: what the critic sees is a part of the answer that it judges."""
        return self.act(observation)

    def judge(self, observation: Observation, seen: str, answer: str) -> list[Message]:
        return self._judged(observation, joined(seen, action_of(answer)))

    def revise(self, observation: Observation, answer: str, critique: str) -> list[Message]:
        again = "Answer the task again, in the first form, with a better action."
        return [*self._judged(observation, answer), *assistant(critique), *user(again, 0)]

    def done(self, end: Observation) -> list[Message]:
        """In the turn of the pictures, which are those of the ending alone."""
        *before, last = self.act(end)
        *images, text = last["content"]
        return [*before, last | {"content": [*images, text | {"text": f"{text['text']}\n{self.finished}"}]}]

    def ask(self, question: str, n_images: int) -> list[Message]:
        return self._begun(self.shown, user(question, n_images))

    def _judged(self, observation: Observation, answer: str) -> list[Message]:
        return [*self.act(observation), *assistant(answer), *user(self.good, 0)]

    def _begun(self, text: str, turns: list[Message]) -> list[Message]:
        if self.system:
            return [{"role": "system", "content": [{"type": "text", "text": text}]}, *turns]
        *images, asked = turns[0]["content"]
        first = [*images, asked | {"text": f"{text}\n\n{asked['text']}"}]
        return [turns[0] | {"content": first}, *turns[1:]]


def dialect_for(settings: ModelSettings, template: TemplateTraits, task: Task) -> Dialect:
    """How a policy is asked about a task. template: its chat template."""
    kind = settings.dialect
    if kind == "auto":
        kind = "terse" if template.is_embedded else "chat"
    if kind == "terse":
        return TERSE
    return chat_for(task, settings.examples, template.system)


@cache
def chat_for(task: Task, examples: int, system: bool = True) -> Chat:
    """The conversation about a task, from its language, its codec and, for examples, episodes of practice."""
    codec = codec_for(task)
    form, turns = _form(codec), ()
    if examples:
        shown, starts = _demonstrations(task, examples)
        form = f"{form} {_introduced(shown is not None)}"
        turns = tuple(_examples(task, codec, shown, starts, examples))
    return Chat(_shown(task), form, turns, _good(codec), _finished(task.language), system)


def _shown(task: Task) -> str:
    return " ".join([f"You are shown a situation in {_pictures(task)}, and told the task.", *task.language.legend])


def _pictures(task: Task) -> str:
    views, moments = len(task.env.cameras), task.env.frames
    if views * moments == 1:
        return "one picture"
    if views == 1:
        return f"its last {moments} pictures, the oldest first"
    if moments == 1:
        return f"{views} pictures of one moment"
    return f"{views * moments} pictures, {views} of each of the last {moments} moments, the oldest first"


def _form(codec: AnswerCodec) -> str:
    form = in_words(codec.regex)
    lines = [f"Answer with one line of this form, and nothing else: `{form}`.", *_key(form)]
    if codec.regex != codec.action.regex:
        lines.append("What comes after the last `; ` is the action, what comes before says what you see.")
    if n := levels_of(codec.action):
        lines.append(f"In an action `+{n}` is the largest value of an axis, `-{n}` the smallest, `+0` halfway.")
    return " ".join(lines)


def _introduced(demonstrated: bool) -> str:
    told = "Examples of other situations come first, without their pictures"
    return f"{told}." if demonstrated else f"{told}; their answers are random, and show the form alone."


def _key(form: str) -> Iterator[str]:
    """What the signs of a form in words mean."""
    if ".." in form:
        yield "`<a..b>` stands for a whole number from a to b."
    if "|" in form:
        yield "`<a|b>` stands for one of these words."
    if "[" in form:
        yield "`[...]` may be left out."


def _good(codec: AnswerCodec) -> str:
    form = in_words(codec.action.instead_regex)
    difference = (
        "how far that is from the action above on each axis"
        if isinstance(codec.action, BoxCodec)
        else "`same` if that is the action above or else `other`"
    )
    return (
        f"Will this action work? Answer with one line of this form: `{form}; <yes|no>`. Say the action that you would "
        f"take, {difference}, and `yes` if the action above will work or else `no`."
    )


def _finished(language: Language) -> str:
    asked = "The pictures are the first and the last one of an episode. Is the task done?"
    if not language.ending_regex:
        return f"{asked} Answer `yes` or `no`."
    form = in_words(language.ending_regex)
    return (
        f"{asked} Answer with one line of this form: `{form}; <yes|no>`. Say what you see in the last picture, and "
        "`yes` if the task is done or else `no`."
    )


def _situation(observation: Observation) -> str:
    return _told(observation.instruction, observation.proprioception)


def _told(instruction: str, proprioception: str) -> str:
    return f"Task: {instruction}" + (f"\nKnown: {proprioception}" if proprioception else "")


# examples ------------------------------------------------------------------------------------------------------------
def _demonstrations(task: Task, n: int) -> tuple[Task | None, Sequence[int]]:
    """The task whose expert shows how to answer, and the seeds of the starts that `n` examples may come from.

    The task is the one asked for, or, if that is held out, the one that is practised in its place: of the same
    environment and language. None without an expert, or where all starts are reserved for evaluation: then answers are
    drawn from the grammar.
    """
    same = [task] if task.split == "practice" else [t for t in TASKS.values() if t.language is task.language]
    alike = (t for t in same if (t.split, t.env.id) == ("practice", task.env.id) and has_expert(t))
    shown = next(alike, None)
    later = SPLITS["practice"][FIRST_EXAMPLE:]
    free = search(shown, later, CANDIDATES * n, reserved(shown))[0] if shown else []
    return (shown, free) if free else (None, later[: CANDIDATES * n])


def _examples(
    task: Task, codec: AnswerCodec, shown: Task | None, starts: Sequence[int], n: int
) -> list[tuple[str, str]]:
    """At most `n` situations, told without pictures, which would multiply what a prompt costs, and answers.

    Their actions differ, if the starts allow: a model prefers the answer that it was shown more often (Zhao et al.,
    2021, "Calibrate Before Use").
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for told, answer in _candidates(task, codec, shown, starts):
        found.setdefault(action_of(answer), []).append((told, answer))
        if len(found) == n:
            break
    return [example for rank in zip_longest(*found.values()) for example in rank if example][:n]


def _candidates(task: Task, codec: AnswerCodec, shown: Task | None, starts: Sequence[int]) -> Iterator[tuple[str, str]]:
    """A situation and an answer for each start: the expert's some steps later, or one from the grammar."""
    expert, env = shown and ExpertPolicy(shown, codec), (shown or task).make()
    try:
        for seed in starts:
            rng = np.random.default_rng([seed, 5])
            env.reset(seed=seed)
            if expert:
                _follow(expert, env, seed, int(rng.integers(WANDER)))
            own = task.language.proprioception(env)
            answer = expert.act_on([env])[0].answer if expert else _composed(task.language, codec, own, rng)
            yield _told(task.language.instruction(env), own), answer
    finally:
        env.close()


def _follow(expert: ExpertPolicy, env: Restorable, seed: int, steps: int) -> None:
    """The expert's first steps; none where the episode would end."""
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(expert.act_on([env])[0].action)
        if terminated or truncated:
            env.reset(seed=seed)
            return


def _composed(language: Language, codec: AnswerCodec, proprioception: str, rng: np.random.Generator) -> str:
    """A random thought, made consistent by the language where it can be, and an action, its own or a random one."""
    thought = language.derive(draw(language.thought_regex, rng), proprioception) if language.thought_regex else ""
    action = language.called_for(thought, proprioception)
    if action is None:
        return joined(thought, draw(codec.action.regex, rng))
    return codec.encode(thought, action)
