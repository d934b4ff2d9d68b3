"""A policy's backend, by what the policy is: a checkpoint's folder, or a server."""

from dataclasses import replace
from pathlib import Path

from policies.backend import Backend
from policies.backends.image_size import resolve_image_size
from policies.backends.loading import load_backend, load_template
from policies.backends.server.address import ServerAddress
from policies.backends.server.backend import ServerBackend
from policies.backends.settings import ModelSettings, recalled
from policies.base import find_policy


def open_backend(policy: Path | ServerAddress, settings: ModelSettings | None = None) -> Backend:
    """Raises UserError for a folder without a checkpoint, and for a server that is not there or lacks the model.

    A server whose weights are here too is asked as these are: what an answer is trained on and how it is asked for must
    not differ.
    """
    if not isinstance(policy, ServerAddress):
        return load_backend(policy, settings)
    if policy.weights is None:
        return ServerBackend.connect(policy, settings)
    folder = find_policy(policy.weights)
    settings = recalled(settings or ModelSettings(), folder)
    template = load_template(folder, settings)
    size = resolve_image_size(settings.image_size, template.processor)
    return ServerBackend.connect(policy, replace(settings, image_size=size or "auto"), template)


def image_size_of(folder: Path, settings: ModelSettings) -> int | None:
    """[px] of the frames that a checkpoint is shown (`resolve_image_size`), whose weights are not loaded."""
    settings = recalled(settings, folder)
    if settings.image_size != "auto":
        return settings.image_size
    return resolve_image_size("auto", load_template(folder, settings).processor)
