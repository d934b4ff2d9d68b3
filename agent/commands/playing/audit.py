"""`handeye audit`: what a policy's criticism of itself is worth."""

from dataclasses import dataclass
from json import dumps
from pathlib import Path


@dataclass(frozen=True)
class Audit:
    """What a policy's criticism of itself is worth on held-out episodes."""

    policy: str  # a checkpoint folder
    tasks: tuple[str, ...] = ("reach", "push", "reach-heldout", "push-heldout")  # names from `handeye tasks`
    episodes: int = 100  # how many distinct starts of each task
    beside: tuple[Path, ...] = ()
    """checkpoint folders whose episodes it judges too: a good policy leaves few failures to know"""
    proposals: int = 4  # answers that the critic chooses among
    revisions: int = 0
    """how often it answers again, told what is wrong, where the best verdict is below the threshold"""
    threshold: float = 0.5  # a verdict from 0 to 1
    workers: int = 1  # processes that play episodes
    json: Path | None = None  # a file to write all numbers to

    def run(self) -> None:
        """Raises UserError, before an episode is played, for a value that cannot work."""
        from agent.collect.workers import Workers
        from agent.commands.arguments import at_least
        from agent.config import Critic, checked
        from agent.measure.audit import audit
        from agent.record.console import console
        from agent.record.tables import audit_table
        from envs import registry
        from envs.starts import distinct
        from policies.base import find_policy

        at_least(1, episodes=self.episodes, workers=self.workers)
        at_least(2, proposals=self.proposals)
        for name in self.tasks:
            distinct(registry.task(name), "heldout", self.episodes)
        critic = checked(
            Critic, {"proposals": self.proposals, "revisions": self.revisions, "threshold": self.threshold}
        )
        policy = find_policy(self.policy)
        with Workers(self.workers) as pool:
            results = {name: audit(policy, name, self.episodes, critic, pool, self.beside) for name in self.tasks}
        console.print(audit_table(results))
        if self.json:
            self.json.write_text(dumps(results, indent=1) + "\n")
