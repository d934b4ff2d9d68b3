"""Whatever a model says is an action of the task's space, or is refused in one line: no crash, no hang.

    python tests/policies/test_any_answer.py --examples 1000000 --seed 0

tries a million texts and prints what they were. Here Hypothesis tries a few thousand.
"""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st
from xgrammar.testing import _is_grammar_accept_string

from envs.errors import UserError
from envs.language import Language
from envs.registry import TASKS
from envs.suites.questions.tasks import question_task
from envs.task import Task
from policies.action_codec import AnswerCodec, BoxCodec, DiscreteCodec, codec_for
from policies.critic import critique
from policies.forms import draw, in_words

QUESTIONS = Path(__file__).parents[1] / "data" / "questions"
REGISTERED = ("reach", "push", "place", "frozen-lake", "pendulum")
LONG = 20_000  # characters
MESSAGE = 20_000  # characters of a message, most of them the grammar
OUTCOMES = ("action", "refused")
SLOW = 2.0  # [s] at most, for one text, on a busy machine
NAMES = ("a b", "(", "x|y", "+1", ".*", "ü", "é\u0301", "[z]", "\\d")
PIECES = (
    *("", " ", "; ", ";", "; ; ", "\n", "\0", "\t", "move", "move ", "answer ", "yes", "no", "; yes", "; no"),
    *("+1", "-1", "+0", "-0", "+99", "+1 ", "1", "٣", "\uff13", "²", "Ⅷ", "+٣", "nan", "inf", "-inf", "1e999"),
    *("1e-999", "e+99", "e-99", "9" * 400, "0x1", "1_0", "1.5", ".", "-", "+", "\u200b", "\ufeff", "\u202e"),
    *("\udc80", "😀", "İ", " m/s^2", " m^٣", " kg", "%", " µm", " ·", "<answer>", "</s>", "{}", "(", "\\", "["),
)


@dataclass(frozen=True)
class Subject:
    """A codec, the grammar that holds a model to it, and the language whose thoughts and endings it says."""

    codec: AnswerCodec
    grammar: xgrammar.Grammar
    language: Language
    proprioception: str

    def valid(self, seed: int) -> str:
        return draw(self.codec.regex, np.random.default_rng(seed))


def subject(codec: AnswerCodec, task: Task | None = None) -> Subject:
    language, proprioception = Language(), ""
    if task:
        language, env = task.language, task.make()
        env.reset(seed=0)
        proprioception = language.proprioception(env)
        env.close()
    return Subject(codec, xgrammar.Grammar.from_regex(codec.regex), language, proprioception)


@cache
def subjects() -> dict[str, Subject]:
    """Continuous, discrete and text actions, with and without thoughts; spaces and names that are hard to say."""
    sets = {kind: question_task(kind, str(QUESTIONS / kind), kind) for kind in ("choices", "free")}
    sets["solved"] = question_task("solved", str(QUESTIONS / "choices"), "choices", solutions=True)
    tasks = {name: TASKS[name] for name in REGISTERED} | sets
    hard = {
        "huge": BoxCodec(gym.spaces.Box(-8e307, 8e307, (2,), np.float64), 9),
        "half": BoxCodec(gym.spaces.Box(-60000, 65500, (1,), np.float16), 101),
        "whole": BoxCodec(gym.spaces.Box(np.array([0, -3]), np.array([255, 4]), dtype=np.int64), 7),
        "names": DiscreteCodec(gym.spaces.Discrete(len(NAMES), start=-2), NAMES),
    }
    return {name: subject(codec_for(task), task) for name, task in tasks.items()} | {
        name: subject(AnswerCodec(codec)) for name, codec in hard.items()
    }


def refused(call: Callable[..., object], *arguments: object) -> bool:
    """Whether the call refuses, which it must do in one line that does not grow with what it was given."""
    try:
        call(*arguments)
    except UserError as error:
        message = str(error)
        assert message, "no message"
        assert "\n" not in message, "a message of several lines"
        assert len(message) < MESSAGE, f"a message of {len(message)} characters"
        return True
    return False


def check(subject: Subject, text: str, other: str) -> str:
    """What becomes of a text: `action` or `refused`. other: a valid answer. Raises AssertionError for anything else."""
    begun, codec, language = time.monotonic(), subject.codec, subject.language
    accepted = not refused(codec.decode, text)
    if accepted:
        thought, action = codec.decode(text)
        assert codec.action.space.contains(action), f"{action!r} is not in {codec.action.space}"
        if not refused(codec.encode, thought, action):  # as four digits of a number such as 9999e+99 are
            assert not refused(codec.decode, codec.encode(thought, action)), "what was decoded cannot be said again"
        assert re.fullmatch(codec.action.instead_regex, codec.instead(other, text), flags=re.ASCII)
        assert not refused(language.derive, thought, subject.proprioception), "a thought from which nothing follows"
        assert critique(thought, good=True).endswith("yes")
    if text.isprintable() or text.isascii():  # not half of a surrogate pair, which no tokenizer says
        assert _is_grammar_accept_string(subject.grammar, text) == accepted, "the grammar and the codec disagree"
    for pair in ((text, other), (other, text)):
        refused(codec.instead, *pair)
    refused(language.parse, text)
    refused(language.derive, text, subject.proprioception)
    refused(language.derive_ending, text, subject.proprioception)
    assert time.monotonic() - begun < SLOW, f"{time.monotonic() - begun:.1f} s"
    return "action" if accepted else "refused"


def mutated(text: str, rng: np.random.Generator) -> str:
    """A valid answer, cut, doubled, or with one of PIECES or a random character somewhere, one to four times."""
    for _ in range(rng.integers(1, 5)):
        at, to = sorted(rng.integers(len(text) + 1, size=2).tolist())
        change = rng.integers(6)
        if change == 0:
            text = text[:at] + text[to:]
        elif change == 1:
            text = text[:to] + text[at:]
        elif change == 2:
            text = text[:at] + PIECES[rng.integers(len(PIECES))] + text[at:]
        elif change == 3:
            text = text[:at] + PIECES[rng.integers(len(PIECES))] + text[to:]
        elif change == 4:
            text = text[:at] + _character(rng) + text[at + 1 :]
        else:
            text = text[:at] + text[at:].swapcase()
    return text


def _character(rng: np.random.Generator) -> str:
    """Of any script, ASCII as often as all others."""
    return chr(rng.integers(128 if rng.random() < 0.5 else 0x110000))


KINDS: dict[str, Callable[[str, np.random.Generator], str]] = {
    "valid": lambda valid, rng: valid,
    "mutated": mutated,
    "other": lambda valid, rng: PIECES[rng.integers(len(PIECES))].join([valid] * int(rng.integers(1, 4))),
    "unicode": lambda valid, rng: "".join(_character(rng) for _ in range(rng.integers(40))),
    "bytes": lambda valid, rng: rng.bytes(int(rng.integers(60))).decode("utf-8", errors="replace"),
    "pieces": lambda valid, rng: "".join(PIECES[i] for i in rng.integers(len(PIECES), size=rng.integers(1, 8))),
    "long": lambda valid, rng: (mutated(valid, rng) * (LONG // max(1, len(valid))))[:LONG],
}
SHARES = np.array([10, 50, 8, 10, 10, 11, 1]) / 100


def tried(examples: int, seed: int) -> Counter:
    """(subject, kind of text, what became of it) -> how often, over so many texts."""
    rng, of, counts = np.random.default_rng(seed), subjects(), Counter()
    for i in range(examples):
        name = list(of)[i % len(of)]
        kind = list(KINDS)[rng.choice(len(KINDS), p=SHARES)]
        valid, other = of[name].valid(int(rng.integers(2**32))), of[name].valid(int(rng.integers(2**32)))
        text = KINDS[kind](valid, rng)
        try:
            counts[name, kind, check(of[name], text, other)] += 1
        except BaseException:
            print(f"{name}, {kind}, seed {seed}, example {i}: {text[:500]!r}", file=sys.stderr)
            raise
    return counts


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(subjects())), st.text(max_size=60) | st.sampled_from(PIECES), st.integers(0, 2**32 - 1))
def test_any_text_is_an_action_or_refused(name, text, seed):
    """Text that Hypothesis makes up, alone and in the midst of a valid answer."""
    subject = subjects()[name]
    valid = subject.valid(seed)
    at = seed % (len(valid) + 1)
    for said in (text, valid[:at] + text + valid[at:], f"{valid.rpartition(' ')[0]} {text}"):
        check(subject, said, valid)


def test_what_is_near_an_answer_is_an_action_or_refused():
    """A thousandth of what the command tries; each kind is met, and only what is valid is always an action."""
    counts = tried(2000, seed=0)
    assert {kind for _, kind, _ in counts} == set(KINDS)
    assert {outcome for _, _, outcome in counts} == {"action", "refused"}
    assert {outcome for _, kind, outcome in counts if kind == "valid"} == {"action"}


@pytest.mark.parametrize("text", ["٣ m", "3 m^٣", "1e999", "nan", "3\n", "99999"])
def test_a_number_that_is_none_is_no_answer(text):
    assert refused(subjects()["free"].codec.decode, f"answer {text}")


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.text(alphabet="()[]{}|?*+.^$\\,-0129adx ", max_size=30))
def test_any_grammar_is_said_in_words_or_refused(regex):
    refused(in_words, regex)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begun = time.monotonic()
    counts = tried(asked.examples, asked.seed)
    for kind in KINDS:
        of = {outcome: sum(n for (_, k, o), n in counts.items() if (k, o) == (kind, outcome)) for outcome in OUTCOMES}
        print(f"{kind:8} " + "  ".join(f"{n:>9,} {outcome}" for outcome, n in of.items()))
    took = time.monotonic() - begun
    print(f"{sum(counts.values()):,} texts to {len(subjects())} codecs in {took:.0f} s, seed {asked.seed}")


if __name__ == "__main__":
    main()
