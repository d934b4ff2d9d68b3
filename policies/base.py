"""What every policy is: observations in, decisions out, in batches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from envs.errors import UserError, first_line
from envs.observation import Observation
from policies.backends.server.address import ServerAddress, is_server, parse

Action = np.ndarray | np.int64 | np.str_ | dict[str, "Action"] | tuple["Action", ...]
NAMED = {"seed": Path(__file__).parent / "seed"}  # name -> the checkpoint's folder, package data
HUB_ID = r"[\w.-]+/[\w.-]+"  # owner/model
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.md")  # of a checkpoint, on a hub


@dataclass(frozen=True)
class Decision:
    """One answer of a policy.

    action: in the action space: an array, a number, text, or a dictionary or tuple of these. verdict: the critic's
    probability, in [0, 1], that the answer will work, where the critic was asked. proposals: the answers that were
    chosen from, with their verdicts. critique: the critic's reason for the verdict.
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
    """The folder of a checkpoint, by the name of one that ships, by its path, or by its name on a hub (`owner/model`),
    from where it is downloaded; a path of a .zip stays as it is.

    others: what else is valid where this is asked, for the message. A server's URL stands for the weights that it names
    (`ServerAddress.weights`). Raises UserError for what is none of these, such as a URL without weights, for a name
    that is a folder here too, and for a hub that cannot be reached.
    """
    if is_server(name):
        address = parse(name)  # which refuses credentials
        if address.weights and not is_server(address.weights):
            return find_policy(address.weights)
        unread = f"policy {str(address)!r} is a server, which can be played, not trained or read"
        raise UserError(f"{unread}; valid: a folder, or the server's weights here, as weights: FOLDER")
    if re.fullmatch(HUB_ID, name) and not Path(name.split("/")[0]).exists():
        return _from_hub(name)
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


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # only needed here
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        missing = f"no folder {name!r} here, and no model of that name from a hub"
        raise UserError(f"{missing}: {first_line(error)}") from error
