"""Who acts for a checkpoint of a run whose policy is behind a server: the server, with the checkpoint's adapters.

The weights are trained here and the server acts. What a training changes are adapters, a folder that the server loads
by its path, under a name that is made of their content. Nothing here imports torch.
"""

import hashlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from envs.errors import UserError
from policies.backends.adapters.folder import PEFT_CONFIG, find_base, has_adapters
from policies.backends.adapters.weights import weights_sha256
from policies.backends.server.address import ServerAddress
from policies.backends.server.client import Client, RefusedError, ServerLostError
from policies.backends.server.wire import Model

KEPT = 3  # loaded for a run at a time: the adapters of the incumbent, of the imitator and of the candidate


def acting(address: ServerAddress, weights: Path, checkpoint: Path) -> ServerAddress:
    """The server as it acts for a checkpoint: for a whole model, which is the one that it has, and for adapters, which
    it loads. weights: the folder of the run's seed policy."""
    adapter = str(checkpoint.resolve()) if has_adapters(checkpoint) else None
    return replace(address, weights=str(weights), adapter=adapter)


def adapter_name(address: ServerAddress) -> str:
    """The name under which a server loads the adapter of an address: of a run's adapters, made of their content."""
    folder = Path(address.adapter)
    if address.weights is None:
        return folder.name
    content = f"{weights_sha256(folder)}".encode() + (folder / PEFT_CONFIG).read_bytes()
    return f"handeye-{hashlib.sha256(content).hexdigest()[:16]}"


def check_weights(served: Model, server: str, weights: Path, base: str | None = None) -> bool:
    """Whether the server tells a hash of its weights. Raises UserError where it is not that of the weights here.

    base: where the base under adapters is, if not where it was.
    """
    whole = find_base(weights, base) if has_adapters(weights) else weights
    theirs = served.weights_sha256 if whole == weights else served.base_sha256
    if theirs is None:
        return False
    ours = weights_sha256(whole)
    if theirs != ours:
        raise UserError(
            f"server {server} serves {served.id!r} with weights of SHA-256 {theirs[:12]}, and {str(whole)!r} has "
            f"{str(ours)[:12]}; valid: a server of these weights, or weights: FOLDER of the server's"
        )
    return True


class LoadedAdapters:
    """The adapters that a run had its server load. The `KEPT` that were used last stay, others are unloaded."""

    def __init__(self) -> None:
        self._used: dict[str, ServerAddress] = {}  # by name, the oldest use first

    def use(self, policy: Path | ServerAddress) -> None:
        """The policy acts next, and none of the others now."""
        if not isinstance(policy, ServerAddress) or policy.adapter is None or policy.weights is None:
            return
        name = adapter_name(policy)
        self._used.pop(name, None)
        self._used[name] = policy
        while len(self._used) > KEPT:
            self._unload(next(iter(self._used)))

    def close(self) -> None:
        """Unload all. A server that is gone has none."""
        while self._used and self._unload(next(iter(self._used))):
            pass

    def _unload(self, name: str) -> bool:
        """Whether there is a server, which then has no adapter of this name."""
        address = self._used.pop(name)
        with closing(Client(replace(address, patience_s=0.0, concurrency=1))) as client:
            try:
                client.post(f"{address.server}/unload_lora_adapter", {"lora_name": name})
            except RefusedError as error:
                if not error.lacks:  # otherwise it is not there any more
                    raise
            except ServerLostError:
                return False
        return True
