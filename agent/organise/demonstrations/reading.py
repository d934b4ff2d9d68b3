"""Recorded demonstrations, in whichever format: LeRobot's, Minari's, robomimic's, or a folder of our own episodes."""

from collections.abc import Iterator
from pathlib import Path

from agent.organise.demonstrations import hdf5, lerobot, minari
from agent.organise.demonstrations.demonstration import Demonstration
from agent.organise.store import EpisodeStore
from envs.errors import UserError
from envs.foreign.teaching import Demonstrations


def read(source: Demonstrations, environment: str) -> Iterator[Demonstration]:
    """The recorded episodes, in their order. environment: the id of the one that they must be of, where they say so.

    Raises UserError, some of it at the first episode, for a folder or file that is missing or of another format.
    """
    if source.format == "hdf5":
        if not source.path.is_file():
            raise UserError(f"no demonstrations in {str(source)!r}; valid: a file")
        return hdf5.read(source.path)
    if not source.path.is_dir():
        raise UserError(f"no demonstrations in {str(source)!r}; valid: a folder")
    if source.format == "lerobot":
        return lerobot.read(source.path)
    if source.format == "minari":
        return minari.read(source.path, environment)
    return _own(source.path)


def _own(folder: Path) -> Iterator[Demonstration]:
    """The successes among the episodes that `handeye rollout` wrote."""
    store = EpisodeStore(folder)
    if not store.parts():
        raise UserError(
            f"no episodes in {str(folder)!r}; valid: a folder that handeye rollout wrote, lerobot:FOLDER, "
            "minari:FOLDER, hdf5:FILE"
        )
    for episode in store:
        if episode.success:
            actions = [step.decision.action for step in episode.steps]
            yield Demonstration(f"seed {episode.seed} in {str(folder)!r}", actions, episode.seed, episode.options)
