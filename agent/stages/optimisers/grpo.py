"""Group-relative policy optimisation (GRPO, Shao et al., 2024) at restored states.

A group is several new answers to one observation. Each is given at the same restored state, and the checkpoint, as it
was before this training, plays the episode to its end: the reward is the measured outcome of that one answer.
"""

import re
from collections import defaultdict
from collections.abc import Sequence, Set
from pathlib import Path

from agent.collect.branching import Branching, Point
from agent.collect.workers import Job, release
from agent.config.optimisers import Optimiser
from agent.optimise.grpo import train_grpo
from agent.organise.episode import Episode
from agent.organise.outcome import mean, outcomes_of
from agent.organise.rows import Asked
from agent.organise.selection import by_start
from agent.record.console import bar
from agent.record.rundir import copy_folder
from agent.record.tracking.training import TrackTraining
from agent.stages.round import Round
from agent.stages.stage import stage
from envs import registry
from envs.foreign.actions import key
from envs.registry import task
from policies.action_codec import codec_for
from policies.backends.loading import load_trainable
from policies.base import Decision


@stage
def reinforce(r: Round, checkpoint: Path, by: Optimiser, *again: str) -> dict[str, int]:
    """GRPO of the checkpoint; a copy where no state is known to be worth a group.

    Raises UnhealthyError, before anything is saved.
    """
    out = r.output(by.out)
    inexact = registry.inexact(r.config.tasks)
    practised = [episode for episode in r.episodes("episodes") if episode.task not in inexact]
    points = states(r.episodes(by.branches) + practised)
    if points:
        _train(r, checkpoint, points, out)
    else:
        copy_folder(checkpoint, out)
    r.sign(out, checkpoint, "grpo")
    return {"groups": len(points)}


def states(episodes: Sequence[Episode]) -> list[Point]:
    """The states at which different actions were followed by success and by failure, each once. With few of them, a
    policy learns these by heart, and forgets the others."""
    found = []
    for attempts in by_start(episodes).values():
        points, ends = dict[bytes, Point](), defaultdict[bytes, set[tuple[bytes, bool]]](set)
        for episode in attempts:
            for i, step in enumerate(episode.own, episode.branched_at):
                observed = step.observation.key()
                points.setdefault(observed, Point(episode, i))
                ends[observed].add((key(step.decision.action), episode.success))
        found += [points[observed] for observed, seen in ends.items() if _differ(seen)]
    return found


def _differ(seen: Set[tuple[bytes, bool]]) -> bool:
    """Of (action, success): whether there are several actions, and both ends."""
    actions, successes = zip(*seen, strict=True)
    return len(set(actions)) > 1 and len(set(successes)) > 1


class MeasuredReward:
    """The value of an answer's outcome (`Outcome.value`), measured by playing on from the restored state.

    The rest of the episode is played by the checkpoint `follower`, with the settings of `branch` and common random
    numbers across the answers. The steps are charged to the budget of branches.
    """

    def __init__(self, r: Round, follower: Path, points: Sequence[Point]):
        self._r, self._follower, self._points = r, follower, points

    def __call__(self, answers: Sequence[str], numbers: Sequence[int]) -> list[float | None]:
        """numbers: of the point of each answer. None where the episode broke; 0 for an answer that is no action."""
        rewards: list[float | None] = [0.0] * len(answers)
        by_task = defaultdict[str, list[tuple[int, Decision]]](list)
        for i, (answer, number) in enumerate(zip(answers, numbers, strict=True)):
            name = self._points[number].episode.task
            if (decision := decided(name, answer)) is not None:
                by_task[name].append((i, decision))
        for name, given in by_task.items():
            measured = self._measured(name, [(self._points[numbers[i]], decision) for i, decision in given])
            for (i, _), value in zip(given, measured, strict=True):
                rewards[i] = value
        return rewards

    def _measured(self, name: str, given: Sequence[tuple[Point, Decision]]) -> list[float | None]:
        settings, n = self._r.config.branch, self._r.config.branch.repeats
        greedy = settings.follow_temperature == 0
        job = self._r.job(name, self._follower, temperature=settings.follow_temperature, end_loops=greedy)
        branching = Branching(self._r.workers, job, self._rollout, self._r.config.collect.attempts, self._r.rng("grpo"))
        whole = branching.measure([point for point, _ in given], [[decision] for _, decision in given], n)
        groups = (whole[i : i + n] for i in range(0, len(whole), n))
        return [_value([e for e in some if e.ending != "broken"], task(name).horizon) for some in groups]

    def _rollout(self, title: str, job: Job) -> list[Episode]:
        """Without a bar of its own, within the training's, and not stored: an interrupted training begins anew."""
        episodes = self._r.workers.rollout(job)
        self._r.charge(self._r.workers.take_spent(), "branch_env_steps")
        return episodes


def decided(name: str, answer: str) -> Decision | None:
    """The decision that an answer to a task is; None for one that is no action, such as another task's."""
    codec = codec_for(task(name))
    return Decision(answer, codec.decode(answer)[1]) if re.fullmatch(codec.regex, answer) else None


def _value(episodes: Sequence[Episode], horizon: int | None) -> float | None:
    if not episodes:
        return None
    return mean(outcomes_of(e, horizon)[0] for e in episodes).value


def _train(r: Round, checkpoint: Path, points: Sequence[Point], out: Path) -> None:
    r.charge(r.workers.take_spent())  # of what went before
    reward = MeasuredReward(r, checkpoint, points)
    asked = [Asked(o.packed_frames(), r.dialect(p.episode.task).act(o)) for p in points for o in [p.moment.observation]]
    regexes = dict.fromkeys(codec_for(task(p.episode.task)).regex for p in points)
    release()
    backend = load_trainable(checkpoint, r.config.model, r.config.seed)
    settings = {"seed": r.config.seed} | r.config.grpo
    with bar("reinforce (GRPO)") as progress:
        callbacks = [progress, TrackTraining(r.tracker, "grpo")]
        train_grpo(
            backend, "|".join(f"({regex})" for regex in regexes), asked, reward, r.checkpoints, settings, callbacks
        )
    backend.save(out)
