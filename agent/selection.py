"""Episodes -> SFT examples: which of its own episodes the policy imitates."""

from collections import defaultdict
from collections.abc import Iterable

from agent.episode import Episode
from agent.rows import Example
from envs.registry import task
from policies import prompt

SETBACK = -0.1  # reward at or below which a step lost ground; above it, things were only nudged


def by_start(episodes: Iterable[Episode]) -> dict[tuple[str, int], list[Episode]]:
    """(task, seed) -> the whole attempts from that start; broken ones are left out."""
    starts = defaultdict(list)
    for episode in episodes:
        if episode.ending != "broken":
            starts[episode.task, episode.seed].append(episode)
    return starts


def keep(episodes: Iterable[Episode], per_start: int) -> list[Episode]:
    """The shortest successes of each start, `per_start` at most.

    A success that was sampled is full of detours; the shortest has the fewest. A bound for each start keeps the easy
    starts from drowning the hard ones.
    """
    kept = []
    for attempts in by_start(episodes).values():
        successes = sorted((e for e in attempts if e.success), key=lambda e: (len(e.steps), e.attempt))
        kept += successes[:per_start]
    return kept


def examples(episodes: Iterable[Episode], hindsight: bool) -> list[Example]:
    """What was answered at each step that lost no ground: a success that was sampled also holds steps back.

    With hindsight, the thoughts are corrected by what the episode proved; the actions stay.
    """
    result = []
    for episode in episodes:
        answers = _corrected(episode) if hindsight else [step.decision.answer for step in episode.steps]
        for step, answer in zip(episode.steps, answers, strict=True):
            if step.reward > SETBACK:
                result.append(Example(step.observation.frames, prompt.act(step.observation), answer))
    return result


def _corrected(episode: Episode) -> list[str]:
    parts = [step.decision.answer.rpartition("; ") for step in episode.steps]
    correct = task(episode.task).hindsight
    if correct is None:
        return [step.decision.answer for step in episode.steps]
    proprioception = [step.observation.proprioception for step in episode.steps] + [episode.final_proprioception]
    thoughts = correct([thought for thought, _, _ in parts], proprioception)
    return [f"{thought}; {action}" for thought, (_, _, action) in zip(thoughts, parts, strict=True)]
