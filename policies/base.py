"""What every policy is: observations in, decisions out, in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from envs.errors import UserError
from envs.observation import Observation
from policies.backends.address import ServerAddress, is_server, parse

Action = np.ndarray | np.int64 | np.str_
NAMED = {"seed": Path(__file__).parent / "seed"}  # name -> the checkpoint's folder, package data


@dataclass(frozen=True)
class Decision:
    """One answer of a policy.

    action: in the action space: (d,), a number, or text. verdict: the critic's probability, in [0, 1], that the answer
    will work, where the critic was asked. proposals: the answers that were chosen from, with their verdicts. critique:
    the critic's reason for the verdict.
    """

    answer: str
    action: Action
    verdict: float | None = None
    proposals: tuple[tuple[str, float], ...] = ()
    critique: str = ""


class Policy(Protocol):
    """Anything that acts. Its random draws come from the episode's own generator, so that an episode does not depend on
    which others are played beside it."""

    def act(self, observations: Sequence[Observation], rngs: Sequence[np.random.Generator]) -> list[Decision]: ...


@runtime_checkable
class Privileged(Protocol):
    """Acts in the place of a policy, but reads the environments, not observations: experts, and policies that act on
    state."""

    def act_on(self, envs: Sequence[gym.Env]) -> list[Decision]: ...


def find_policy(name: str, others: Sequence[str] = ()) -> Path:
    """The folder of a checkpoint, by the name of one that ships or by its path; a path of a .zip stays as it is.

    others: what else is valid where this is asked, for the message. Raises UserError for what is neither, such as a
    server's URL, and for a name that is a folder here too.
    """
    if is_server(name):
        raise UserError(f"policy {name!r} is a server, which can be played, not trained or read; valid: a folder")
    path = NAMED.get(name, Path(name))
    if Path(name).is_dir() and not Path(name).samefile(path):
        raise UserError(f"policy {name!r} ships, and is a folder here too; valid: './{name}', or {str(path)!r}")
    if path.is_dir() or path.suffix == ".zip":
        return path
    valid = ", ".join((*others, *NAMED, "or a folder with config.json, weights and processor"))
    raise UserError(f"no checkpoint in {name!r}; valid: {valid}")


def find_player(name: str, others: Sequence[str] = ()) -> Path | ServerAddress:
    """As `find_policy`, but a server's URL is valid too: of a policy that is played, not trained."""
    return parse(name) if is_server(name) else find_policy(name, others)
