"""`handeye rollout`: episodes into a folder."""

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from envs.errors import UserError
from policies.backends.settings import ModelSettings


@dataclass(frozen=True)
class Rollout:
    """Collect episodes into a folder of Parquet files."""

    task: str  # a name from `handeye tasks`
    out: Path  # the folder; episodes are added to what it holds
    policy: str = "seed"
    """a checkpoint folder, a .zip of Stable-Baselines3 (other than those that ship it needs --trust), the URL of a
    server, or one of seed, zero, random, expert"""
    episodes: int = 100  # how many distinct starts
    attempts: int = 1  # episodes from each start
    split: str = "practice"  # practice, gate or heldout
    temperature: float = 0.0  # 0 is greedy
    seed: int = 0  # of the policy's random draws
    n_envs: int = 64  # environments in lockstep, fewer where memory is short; the result does not depend on it
    trust: bool = False  # load a .zip that does not ship, which can run code
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output
    model: ModelSettings = field(default_factory=ModelSettings)  # how a checkpoint is loaded, shown frames and asked

    def run(self) -> None:
        """Raises UserError, before an episode is played, for a value that cannot work."""
        from agent.collect.play import play
        from agent.commands.arguments import at_least, vouch
        from agent.commands.outputs import document, emit, folder
        from agent.commands.probing import probe
        from agent.organise.store import EpisodeStore
        from agent.record.console import show
        from envs import registry
        from envs.starts import distinct

        at_least(1, episodes=self.episodes, attempts=self.attempts, n_envs=self.n_envs)
        at_least(0, seed=self.seed, temperature=self.temperature)
        if self.split == "final":
            raise UserError("split 'final' of rollout; valid: practice, gate, heldout; final is for handeye eval alone")
        out, said = folder(self.out, needs_mb=10), document(self.json)
        task = registry.task(self.task)
        if self.trust:
            vouch(self.policy, tasks=(self.task,))
        starts = list(product(distinct(task, self.split, self.episodes), range(self.attempts)))
        probe(task)
        settings = {"n_envs": self.n_envs, "seed": self.seed, "model": self.model}
        played = play(self.task, self.policy, starts, self.temperature, **settings)
        EpisodeStore(out).append(played)
        n = sum(e.success for e in played)
        show(f"{n} of {len(played)} episodes succeeded: {self.out}")
        broken = sum(e.ending == "broken" for e in played)
        emit(said, {"task": self.task, "out": str(out), "episodes": len(played), "successes": n, "broken": broken})
