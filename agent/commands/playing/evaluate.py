"""`handeye eval`: success rate with an interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluate:
    """Success rate of a policy on a task, with a 95 % interval."""

    task: str  # a name from `handeye tasks`
    policy: str = "policies/seed"  # a checkpoint folder, a .zip of Stable-Baselines3, or one of zero, random, expert
    episodes: int = 100  # how many seeds
    split: str = "heldout"  # practice, gate or heldout
    temperature: float = 0.0  # 0 is greedy
    proposals: int = 1  # answers drawn per decision, of which the critic chooses one
    revisions: int = 0
    """how often the policy answers again, with the critique in its prompt, where the best verdict is below threshold"""
    threshold: float = 0.5  # of a verdict, from 0 to 1
    seed: int = 0  # of the policy's random draws
    n_envs: int = 64  # environments in lockstep; the result does not depend on it

    def run(self) -> None:
        """Raises UserError, before an episode is played, for a value that cannot work."""
        from agent.collect.play import play
        from agent.commands.arguments import at_least
        from agent.config import Critic, checked
        from agent.measure.statistics import acted_on, check_distinct, critic_scores, rate, successes
        from agent.record.console import console
        from agent.record.tables import percent
        from envs import registry
        from envs.splits import seeds

        at_least(1, episodes=self.episodes, n_envs=self.n_envs)
        at_least(0, seed=self.seed, temperature=self.temperature)
        check_distinct(registry.task(self.task), self.split, self.episodes)
        critic = checked(
            Critic, {"proposals": self.proposals, "revisions": self.revisions, "threshold": self.threshold}
        )
        starts = [(s, 0) for s in seeds(self.split, self.episodes)]
        played = play(self.task, self.policy, starts, self.temperature, critic, self.n_envs, self.seed)
        console.print(f"{self.task}: {percent(rate(successes(played)))} of {len(played)} episodes")
        if critic.proposals > 1 or critic.revisions:
            scores = critic_scores(acted_on(played), played)
            console.print(f"critic: AUROC {scores['auroc']:.2f}, Brier {scores['brier']:.2f}")
