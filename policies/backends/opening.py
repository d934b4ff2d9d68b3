"""A policy's backend, by what the policy is: a checkpoint's folder, or a server."""

from pathlib import Path

from policies.backend import Backend
from policies.backends.loading import load_backend
from policies.backends.server.address import ServerAddress
from policies.backends.server.backend import ServerBackend
from policies.backends.settings import ModelSettings


def open_backend(policy: Path | ServerAddress, settings: ModelSettings | None = None) -> Backend:
    """Raises UserError for a folder without a checkpoint, and for a server that is not there or lacks the model."""
    if isinstance(policy, ServerAddress):
        return ServerBackend.connect(policy, settings)
    return load_backend(policy, settings)
