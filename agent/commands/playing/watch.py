"""`handeye watch`: a film of one episode."""

from dataclasses import dataclass, field
from pathlib import Path

from policies.backends.settings import ModelSettings

FORMATS = (".mp4", ".png", ".gif")


@dataclass(frozen=True)
class Watch:
    """One episode as a film."""

    task: str  # a name from `handeye tasks`
    out: Path  # an .mp4; a .png of a few moments, or a .gif of 15 s, cropped to what there is to see
    policy: str = "seed"
    """a checkpoint folder, a .zip of Stable-Baselines3 (other than those that ship it needs --trust), the URL of a
    server, or one of seed, zero, random, expert"""
    against: str | None = None  # another policy, shown below on the same episode
    seed: int = 2_500_000  # of the episode
    trust: bool = False  # load a .zip that does not ship, which can run code
    json: Path | None = None  # a file to write the numbers to; without a name, the standard output
    model: ModelSettings = field(default_factory=ModelSettings)  # how a checkpoint is loaded, shown frames and asked

    def run(self) -> None:
        """Raises UserError, before the episode is played, for a value that cannot work."""
        from agent.collect.play import play
        from agent.commands.arguments import at_least, check_player, vouch
        from agent.commands.outputs import document, emit, file
        from agent.commands.probing import probe
        from agent.measure.statistics import successes
        from agent.record import picture, video
        from envs import registry
        from envs.errors import UserError
        from envs.splits import SPLITS

        at_least(0, seed=self.seed)
        if self.seed in SPLITS["final"]:
            raise UserError(f"seed {self.seed} is of the final split, which is for handeye eval alone; valid: another")
        if self.trust:
            vouch(self.policy, self.against, tasks=(self.task,))
        if self.out.suffix not in FORMATS:
            raise UserError(f"cannot write {str(self.out)!r}; valid: a name that ends in {', '.join(FORMATS)}")
        out, told = file(self.out, needs_mb=10), document(self.json)
        chosen = registry.task(self.task)
        probe(chosen)
        for name in filter(None, (self.policy, self.against)):
            check_player(name, chosen)
        names, episodes, said = [], [], []
        for name in (self.policy, self.against) if self.against else (self.policy,):
            (episode,) = played = play(self.task, name, [(self.seed, 0)], model=self.model)
            successes(played)  # raises UserError for a broken episode
            names.append(name)
            episodes.append(episode)
            said.append({"policy": name, "success": episode.success, "steps": len(episode.steps)})
            print(f"{name}: {'success' if episode.success else 'failure'} after {len(episode.steps)} steps")
        if out.suffix == ".mp4":
            video.write(out, [video.film(episode) for episode in episodes])
        else:
            moments = picture.MOMENTS if out.suffix == ".png" else picture.FRAMES
            picture.write(out, [video.shots(e, picture.SIZE, moments) for e in episodes], names)
        print(f"film: {self.out}")
        emit(told, {"task": self.task, "seed": self.seed, "film": str(out), "episodes": said})
