"""`handeye audit`: how good a policy's critic is."""

from dataclasses import dataclass, field
from pathlib import Path

from agent.config import Tracking
from policies.backends.settings import ModelSettings


@dataclass(frozen=True)
class Audit:
    """How good a policy's critic is on held-out episodes: verdicts against measured outcomes, gain when acting."""

    policy: str  # a checkpoint folder, seed, or the URL of a server
    tasks: tuple[str, ...] = ("reach", "push", "reach-heldout", "push-heldout")  # names from `handeye tasks`
    episodes: int = 100  # how many distinct starts of each task
    beside: tuple[str, ...] = ()
    """further policies whose episodes the critic judges too: a good policy leaves few failures of its own"""
    proposals: int = 4  # answers drawn per decision, of which the critic chooses one
    revisions: int = 0
    """how often the policy answers again, with the critique in its prompt, where the best verdict is below threshold"""
    threshold: float = 0.5  # of a verdict, from 0 to 1
    workers: int = 1  # processes that roll out episodes
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output
    report: Path | None = None  # an .html to write: the numbers, and every episode step by step
    tracking: Tracking = field(default_factory=lambda: Tracking("disabled"))
    """where the numbers go: into FILE.metrics, beside the report's or the JSON's file"""
    model: ModelSettings = field(default_factory=ModelSettings)  # how a checkpoint is loaded, shown frames and asked

    def run(self) -> None:
        """Raises UserError, before an episode is played, for a value that cannot work."""
        from agent.commands import beside as left
        from agent.commands.arguments import are_foreign, at_least
        from agent.commands.outputs import document, emit
        from agent.commands.probing import probe_apart

        at_least(1, episodes=self.episodes, workers=self.workers)
        at_least(2, proposals=self.proposals)
        out, page = document(self.json), left.check_page(self.report, self.json)
        metrics = left.check_tracking(self.tracking, page, out)
        probe_apart(self.tasks)  # before torch is imported
        from agent.collect.workers import Workers
        from agent.config import Critic
        from agent.measure.audit import audit
        from agent.record.console import say, show
        from agent.record.provenance import check_words
        from agent.record.tables import audit_table
        from agent.record.tracking.measured import log_audit
        from envs import registry
        from envs.starts import distinct
        from envs.validation import checked
        from policies.backends.opening import open_backend
        from policies.base import find_player

        for name in self.tasks:
            distinct(registry.task(name), "heldout", self.episodes)
        critic = checked(
            Critic, {"proposals": self.proposals, "revisions": self.revisions, "threshold": self.threshold}
        )
        policy, *beside = (find_player(name) for name in (self.policy, *self.beside))
        for path in (policy, *beside):
            if isinstance(path, Path):
                check_words(path, self.tasks)
            open_backend(path, self.model)
        for name in registry.inexact(self.tasks):
            say(f"task {name!r}, exact: false: its answers and claims are skipped, which need branches")
        with Workers(self.workers, apart=are_foreign(self.tasks)) as pool:
            results, played = {}, {name: {} for name in self.tasks}
            for name in self.tasks:
                keep = played[name].__setitem__ if page else lambda how, episodes: None
                results[name] = audit(policy, name, self.episodes, critic, pool, beside, self.model, show=keep)
        show(audit_table(results))
        emit(out, results)
        if page:
            from agent.measure.reporting.played_report import audit_report

            audit_report(page, results, played, self.policy, left.typed(self, "audit"), left.settings(self))
            say(f"report   {page} ({page.stat().st_size / 1e6:.1f} MB)")
        with left.tracker(self, "audit", metrics, *self.tasks) as tracker:
            if tracker:
                log_audit(tracker, results)
