"""`handeye eval`: success rate with an interval."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.config import Tracking
from policies.backends.settings import ModelSettings

if TYPE_CHECKING:
    from envs.observation import Withheld
    from envs.task import Task

PASSES = (1, 2, 5, 10, 20, 50, 100)  # numbers of attempts of which one is to succeed
STARTS = 100  # whose instructions are told in the place of others


@dataclass(frozen=True)
class Evaluate:
    """Success rate of a policy on a task, with a 95 % interval; `until` adds episodes until the interval is narrow."""

    task: str  # a name from `handeye tasks`
    policy: str = "seed"
    """a checkpoint folder, a .zip of Stable-Baselines3 (other than those that ship it needs --trust), the URL of a
    server, or one of seed, zero, random, expert"""
    episodes: int | None = None  # number of distinct starts, by default 100; with until the most, by default 2000
    until: float | None = None
    """half-width of the interval in points at which to stop; the interval is anytime-valid, which makes it wider than
    Wilson's"""
    split: str = "heldout"  # practice, gate or heldout; final, whose every use is recorded
    temperature: float = 0.0  # 0 is greedy
    proposals: int = 1  # answers drawn per decision, of which the critic chooses one
    revisions: int = 0
    """how often the policy answers again, with the critique in its prompt, where the best verdict is below threshold"""
    threshold: float = 0.5  # of a verdict, from 0 to 1
    attempts: int = 1
    """sampled episodes of each start; the share of starts of which one of k succeeds (pass@k) is printed, for some k"""
    without: tuple[Literal["frames", "instruction"], ...] = ()
    """what the policy is kept from, to see whether it needs it: frames are grey, the instruction is another scene's"""
    sight: bool = False  # compare what the policy thinks it sees with the environment's state
    seed: int = 0  # of the policy's random draws
    n_envs: int = 64  # environments in lockstep; the result does not depend on it
    trust: bool = False  # load a .zip that does not ship, which can run code
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output
    report: Path | None = None  # an .html to write: the numbers, and every episode step by step
    tracking: Tracking = field(default_factory=lambda: Tracking("disabled"))
    """where the numbers and a table of the episodes go: into FILE.metrics, beside the report's or the JSON's file"""
    model: ModelSettings = field(default_factory=ModelSettings)  # how a checkpoint is loaded, shown frames and asked

    def run(self) -> None:
        """Raises UserError, before an episode is played, for a value that cannot work."""
        from functools import partial

        from agent.collect.play import play
        from agent.commands import beside
        from agent.commands.arguments import at_least, vouch
        from agent.commands.outputs import document, emit
        from agent.commands.probing import probe
        from agent.config import Critic
        from agent.measure.sequential import check_half_width, play_until
        from agent.measure.sight import check_sight, sight
        from agent.measure.statistics import acted_on, critic_scores, pass_at, rate, successes
        from agent.record.console import say, show
        from agent.record.final import record_final
        from agent.record.tables import percent, sight_table
        from agent.record.tracking.measured import log_evaluation
        from envs import registry
        from envs.errors import UserError
        from envs.starts import as_needed, distinct
        from envs.validation import checked

        episodes = self.episodes if self.episodes is not None else 100 if self.until is None else 2000
        at_least(1, episodes=episodes, n_envs=self.n_envs, attempts=self.attempts)
        at_least(0, seed=self.seed, temperature=self.temperature)
        if self.until is not None:
            check_half_width(self.until / 100)
        if self.attempts > 1 and (self.until is not None or not self.temperature):
            raise UserError(f"--attempts {self.attempts}; valid: with a --temperature above 0, and without --until")
        critic = checked(
            Critic, {"proposals": self.proposals, "revisions": self.revisions, "threshold": self.threshold}
        )
        if self.trust:
            vouch(self.policy, tasks=(self.task,))
        out, page = document(self.json), beside.check_page(self.report, self.json)
        metrics = beside.check_tracking(self.tracking, page, out)
        task = registry.task(self.task)
        if self.sight:
            check_sight(task)
        probe(task)
        settings = {"temperature": self.temperature, "critic": critic, "n_envs": self.n_envs, "seed": self.seed}
        settings |= {"truth": "state" if self.sight else "nothing", "withheld": self._withheld(task)}
        play_some = partial(play, self.task, self.policy, **settings, model=self.model)
        if self.until is None:
            starts = distinct(task, self.split, episodes)
            played, kind = play_some([(s, a) for s in starts for a in range(self.attempts)]), ""
            result = rate(successes(played)) if self.attempts == 1 else pass_at(played, 1)
        else:
            starts = ((s, 0) for s in as_needed(task, self.split, episodes))
            played, result = play_until(play_some, starts, self.until / 100)
            kind = f", an anytime-valid interval: played until at most {self.until:g} points to each side, "
            kind += f"or {episodes} distinct starts, or all there are"
        show(f"{self.task}: {percent(result)} of {result['n']} episodes{kind}")
        said = {"task": self.task, "policy": self.policy, "split": self.split, "result": result}
        if self.attempts > 1:
            said["pass_at"] = {k: pass_at(played, k) for k in sorted({*PASSES, self.attempts}) if k <= self.attempts}
            for k, passed in said["pass_at"].items():
                show(f"one of {k} attempts: {percent(passed)} of {episodes} starts")
        if self.sight:
            said["sight"] = seen = sight(task, played)
            show(sight_table(seen))
        if self.split == "final":
            say(record_final(self.policy, self.task, result))
        if critic.proposals > 1 or critic.revisions:
            scores = critic_scores(acted_on(played), played)
            said["critic"] = scores
            show(f"critic: AUROC {scores['auroc']:.2f}, Brier {scores['brier']:.2f}")
        emit(out, said)
        if page:
            from agent.measure.reporting.played_report import eval_report

            eval_report(page, said, played, beside.typed(self, "eval"), beside.settings(self), kind.lstrip(", "))
            say(f"report   {page} ({page.stat().st_size / 1e6:.1f} MB)")
        with beside.tracker(self, "eval", metrics, self.task) as tracker:
            if tracker:
                log_evaluation(tracker, said, played)

    def _withheld(self, task: "Task") -> "Withheld | None":
        """Raises UserError where every start has the same instruction."""
        from envs.errors import UserError
        from envs.observation import Withheld
        from envs.starts import as_needed, instructions

        if not self.without:
            return None
        told = instructions(task, as_needed(task, self.split, STARTS)) if "instruction" in self.without else ()
        if len(told) == 1:
            raise UserError(f"--without instruction, where all are {told[0]!r}; valid: a task with several")
        return Withheld("frames" in self.without, told)
