"""A policy's backend, by what the policy is: a checkpoint's folder, or a server."""

from pathlib import Path

from policies.backend import Backend
from policies.backend_hf import HFBackend
from policies.backends.address import ServerAddress
from policies.backends.server import ServerBackend


def open_backend(policy: Path | ServerAddress) -> Backend:
    """Raises UserError for a folder without a checkpoint, and for a server that is not there or lacks the model."""
    if isinstance(policy, ServerAddress):
        return ServerBackend.connect(policy)
    return HFBackend.load(policy)
