"""Episodes of a checkpoint or of a named baseline, for a command of the user's.

They are rolled out in this process; those of a declared task, whose environment nobody here has tried, in a worker.
"""

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from agent.collect.budget import Spent
from agent.collect.processes.informed import informed
from agent.collect.processes.recovery import summary
from agent.collect.processes.serving import Call, Pulse, here
from agent.collect.processes.watched import Finished, WatchedEnding, WatchedPolicy, WatchedTask
from agent.collect.rollout import Known, Start, Subscriber, rollout
from agent.config import Critic, Limits
from agent.organise.episode import Episode
from agent.record.console import bar, say
from agent.record.provenance import check_words
from envs import registry
from envs.errors import UserError
from envs.observation import Withheld
from envs.task import DECLARED, Task
from policies.action_codec import codec_for
from policies.backends.settings import ModelSettings
from policies.base import Policy, Privileged, find_player
from policies.baselines import ExpertPolicy, RandomPolicy, ZeroPolicy, with_expert
from policies.experts import trust

BASELINES = ("zero", "random", "expert")


def play(
    task: str,
    policy: str,
    starts: Sequence[tuple[int, int]],
    temperature: float = 0.0,
    critic: Critic | None = None,
    n_envs: int = 64,
    seed: int = 0,
    model: ModelSettings | None = None,
    truth: Known = "nothing",
    withheld: Withheld | None = None,
) -> list[Episode]:
    """One episode for each start (seed, attempt), rolled out as in a run; prints how many broke.

    policy: a checkpoint folder, the URL of a server, a .zip of Stable-Baselines3, or one of zero, random, expert, seed
    (the one that ships).
    seed: of the random draws. model: how a checkpoint is loaded, shown frames and asked. truth: what steps keep of what
    is known of them (`rollout`). withheld: what the policy is kept from.
    Raises UserError for a policy that is not there or was trained with other words, for an unknown task, for a
    temperature, critic, truth or something withheld where the policy is no checkpoint, and where more than half of the
    episodes broke.
    """
    chosen = registry.as_measured(task)  # who acts without a language model needs no words
    found = None if policy in BASELINES else find_player(policy, (*BASELINES, "a .zip", "the URL of a server"))
    is_model = not (found is None or (isinstance(found, Path) and found.suffix == ".zip"))
    if not is_model and (temperature or (critic and (critic.proposals > 1 or critic.revisions))):
        raise UserError(
            f"policy {policy!r} has no temperature and no critic; valid: temperature 0, 1 proposal, 0 revisions"
        )
    if truth != "nothing" and not is_model:
        raise UserError(f"policy {policy!r} has no thoughts; valid: without --sight, or a checkpoint")
    if withheld and not is_model:
        raise UserError(f"policy {policy!r} is no checkpoint, from which something is withheld; valid: no --without")
    if is_model and isinstance(found, Path):
        check_words(found, (task,))
    is_foreign = chosen.suite == DECLARED
    with bar(task, len(starts)) if len(starts) > 1 else nullcontext() as progress:
        subscribers = [_Whole(task, len(starts)), *([progress] if progress else [])]
        if is_model:
            from agent.collect.workers import Job, Workers  # loads torch, which no other policy here needs

            settings = {"n_envs": n_envs, "sampling_seed": seed, "model": model or ModelSettings(), "truth": truth}
            settings["withheld"] = withheld
            job = Job(task, found, starts, temperature, critic or Critic(), **settings)
            with Workers(1, apart=is_foreign) as workers:
                played = workers.rollout(job, subscribers)
        else:
            part = Part(task, policy if found is None else str(found), starts, n_envs, seed)
            played = _play_apart(part, subscribers) if is_foreign else _rollout(part, chosen, subscribers)
    broken = [e for e in played if e.ending == "broken"]
    if broken:
        say(f"{len(broken)} broken, left out; the first: seed {broken[0].seed}: {broken[0].error}")
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


@dataclass(frozen=True)
class Part:
    """Starts of a task for a policy without a language model. trusted: as `trust.vouched` has it."""

    task: str
    policy: str
    starts: Sequence[Start | tuple[int, int]]
    n_envs: int
    seed: int
    trusted: frozenset[str] = frozenset()
    proved: bool = False


def _rollout(part: Part, task: Task, subscribers: Sequence[Subscriber]) -> list[Episode]:
    settings = {"sampling_seed": part.seed, "proved": part.proved}
    return rollout(task, _acting(part.policy, task), part.starts, part.n_envs, subscribers, **settings)


def _acting(policy: str, task: Task) -> Policy | Privileged:
    if policy not in BASELINES:
        from policies.sb3 import load  # slow to import, and only needed here

        return load(Path(policy), task)
    codec = codec_for(task)
    if policy == "expert":
        return ExpertPolicy(with_expert(task), codec)
    return {"zero": ZeroPolicy, "random": RandomPolicy}[policy](codec.action.space)


def _play_apart(part: Part, subscribers: Sequence[Subscriber]) -> list[Episode]:
    """The episodes, in a worker: an environment that ends its process or hangs breaks its own episode alone.

    Raises UserError where more than `limits.broken` of the episodes are broken by dying workers.
    """
    from agent.collect.processes.pool import Pool
    from agent.collect.processes.recovery import Playing

    starts, limits = [Start(*start) for start in part.starts], Limits()

    def call(some: Sequence[Start]) -> Call:
        proved = any(e.ending != "broken" for e in playing.finished.values())
        return informed(_play_part, replace(part, starts=some, trusted=trust.vouched(), proved=proved))

    def ended(episode: Episode, spent: Spent) -> None:
        for subscriber in subscribers:
            subscriber.on_episode(episode)

    playing = Playing(part.task, [starts], call, part.n_envs, limits.broken, ended)
    with closing(Pool(1, limits, preload=__name__)) as pool:
        pool.run(playing)
    return [playing.finished[start[:2]] for start in starts]


def _play_part(part: Part) -> None:
    """In a worker."""
    connection, pulse = here()
    trust.vouch_for(part.trusted)
    task, order = registry.as_measured(part.task), {start[:2]: i for i, start in enumerate(part.starts)}
    subscribers = [WatchedEnding(order, pulse), _Send(connection, pulse)]
    acting = _acting(part.policy, task)
    watched = acting if isinstance(acting, Privileged) else WatchedPolicy(acting, pulse)
    settings = {"sampling_seed": part.seed, "proved": part.proved}
    rollout(WatchedTask(task, pulse, None), watched, part.starts, part.n_envs, subscribers, **settings)


@dataclass
class _Send:
    """A rollout's last subscriber in a worker."""

    connection: Connection
    pulse: Pulse

    def on_episode(self, episode: Episode) -> None:
        self.pulse.rest()
        self.connection.send(Finished(episode, Spent()))
        episode.steps.clear()  # the rollout returns all its episodes, and here nobody reads them
