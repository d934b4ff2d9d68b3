"""Episodes of a checkpoint or of a named baseline, rolled out in this process for a command of the user's."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from agent.collect.processes.recovery import summary
from agent.collect.rollout import rollout
from agent.config import Critic
from agent.organise.episode import Episode
from agent.record.console import bar, console
from envs import registry
from envs.errors import UserError
from envs.task import Task
from policies.action_codec import codec_for
from policies.backends.settings import ModelSettings
from policies.base import Policy, Privileged, find_player
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy, with_expert


def play(
    task: str,
    policy: str,
    starts: Sequence[tuple[int, int]],
    temperature: float = 0.0,
    critic: Critic | None = None,
    n_envs: int = 64,
    seed: int = 0,
    model: ModelSettings | None = None,
) -> list[Episode]:
    """One episode for each start (seed, attempt), rolled out as in a run; prints how many broke.

    policy: a checkpoint folder, the URL of a server, a .zip of Stable-Baselines3, or one of zero, random, expert, seed
    (the one that ships).
    seed: of the random draws. model: how a checkpoint is loaded, shown frames and asked.
    Raises UserError for a policy that is not there, for an unknown task, for a temperature or critic where the policy
    is no checkpoint, and where more than half of the episodes broke.
    """
    chosen = registry.task(task)
    codec = codec_for(chosen)
    space = codec.action.space
    baselines = {
        "zero": lambda: ZeroPolicy(space),
        "random": lambda: RandomPolicy(space),
        "expert": lambda: ExpertPolicy(with_expert(chosen), codec),
    }
    found = None if policy in baselines else find_player(policy, (*baselines, "a .zip", "the URL of a server"))
    with bar(task, len(starts)) if len(starts) > 1 else nullcontext() as progress:
        subscribers = [_Whole(task, len(starts)), *([progress] if progress else [])]
        if found is None or (isinstance(found, Path) and found.suffix == ".zip"):
            if temperature or (critic and (critic.proposals > 1 or critic.revisions)):
                raise UserError(
                    f"policy {policy!r} has no temperature and no critic; valid: temperature 0, 1 proposal, 0 revisions"
                )
            acting = _trained(found, chosen) if found else baselines[policy]()
            played = rollout(chosen, acting, starts, n_envs, subscribers, seed)
        else:
            from agent.collect.workers import Job, Workers  # loads torch, which no other policy here needs

            critic = critic or Critic()
            settings = {"n_envs": n_envs, "sampling_seed": seed, "model": model or ModelSettings()}
            job = Job(task, found, starts, temperature, critic, **settings)
            played = Workers(1).rollout(job, subscribers)
    broken = [e for e in played if e.ending == "broken"]
    if broken:
        console.print(f"{len(broken)} broken, left out; the first: seed {broken[0].seed}: {broken[0].error}")
    return played


class _Whole:
    """A rollout's subscriber that ends it where more than half of its `n` episodes are broken."""

    def __init__(self, task: str, n: int):
        self._task, self._n, self._broken = task, n, list[Episode]()

    def on_episode(self, episode: Episode) -> None:
        """Raises UserError."""
        self._broken += [episode] if episode.ending == "broken" else []
        if len(self._broken) > self._n / 2:
            message = f"more than half of {self._n} episodes of {self._task!r} broke: {summary(self._broken)}"
            raise UserError(f"{message}; valid: a task that can be played")


def _trained(path: Path, task: Task) -> Policy | Privileged:
    from policies.sb3 import load  # slow to import, and only needed here

    return load(path, task)
