"""Observation -> chat messages: to act, to judge an answer, to revise it, to judge an ending."""

from typing import Any

from envs.observation import Observation
from policies.action_codec import action_of, joined

Message = dict[str, Any]
WORDS = (
    "describe",
    "where is the",
    "over the",
    "behind the",
    "through the",
    "from the",
    "good?",
    ".",
    ",",
    ";",
)  # that prompts and captions add to the vocabulary of a language


def user(text: str, n_images: int = 1) -> list[Message]:
    """One user turn: the frames, then the text."""
    images = [{"type": "image"}] * n_images
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def assistant(text: str) -> list[Message]:
    return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _situation(observation: Observation) -> str:
    return _sentences(observation.instruction, observation.proprioception)


def _sentences(*parts: str) -> str:
    return ". ".join(part for part in parts if part)


def act(observation: Observation) -> list[Message]:
    """What should be done now?"""
    return user(_situation(observation), observation.n_frames)


def critic_prefix(observation: Observation, seen: str) -> list[Message]:
    """The prefix that all questions of `judge` about one observation share: the situation and what the critic sees."""
    return user(_sentences(_situation(observation), seen), observation.n_frames)


def judge(observation: Observation, seen: str, answer: str) -> list[Message]:
    """Will the action of this answer work, given what the critic sees? Answered by a reason and `yes` or `no`."""
    return user(f"{_situation(observation)}. {joined(seen, action_of(answer))}. good?", observation.n_frames)


def revise(observation: Observation, answer: str, critique: str) -> list[Message]:
    """What should be done instead of an answer, given its critique?"""
    return user(f"{_situation(observation)}. {answer}. {critique}", observation.n_frames)


def done(end: Observation) -> list[Message]:
    """Is the task done, given an episode's first and last frame? Answered by what is seen there, and `yes` or `no`."""
    return user(f"{_situation(end)}. done?", end.n_frames)
