"""`handeye push`: a policy to a hub, with a model card."""

import re
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from envs.errors import UserError, first_line
from policies.base import HUB_FILES, HUB_ID

LOCAL = ("provenance.json", "pretrain.json", ".handeye.json")  # of this machine alone: not sent


@dataclass(frozen=True)
class Push:
    """A policy to a hub, with a model card written from what was recorded of it."""

    policy: Positional[Path]  # a run's folder, whose last policy is meant, or a checkpoint folder
    repo: Positional[str]  # its name on the hub, owner/model
    private: bool = False  # a repository that others cannot see, if it is made now
    licence: str | None = None  # as the hub names it, such as apache-2.0; that of the base binds too
    dry_run: bool = False  # write the card and say what would be sent

    def run(self) -> None:
        """Raises UserError, before anything is sent, for a folder or a name that cannot work, and without a token."""
        from agent.record.card import Card

        if not re.fullmatch(HUB_ID, self.repo):
            raise UserError(f"repo = {self.repo!r}; valid: owner/model")
        card = Card.of(self.policy, self.licence)
        card.write(self.repo)
        found = {path for pattern in HUB_FILES for path in card.checkpoint.glob(pattern)}
        files = sorted(path for path in found if path.name not in LOCAL)
        for path in files:
            print(f"{path.stat().st_size / 1e6:10.1f} MB  {path}")
        if self.dry_run:
            print(f"not sent: {len(files)} files to {self.repo}")
        else:
            print(f"sent     {upload(card.checkpoint, self.repo, self.private)}")


def upload(folder: Path, repo: str, private: bool) -> str:
    """Send a folder's files to a hub; returns the address. Raises UserError without a token, and where refused."""
    from huggingface_hub import create_repo, get_token, upload_folder
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not get_token():
        raise UserError("no token for the hub; valid: first `hf auth login`, or the variable HF_TOKEN")
    try:
        create_repo(repo, private=private, exist_ok=True)
        upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(HUB_FILES), ignore_patterns=list(LOCAL))
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise UserError(f"{repo!r} was not sent: {first_line(error)}") from error
    return f"https://huggingface.co/{repo}"
