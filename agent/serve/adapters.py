"""LoRA adapters that clients have a server load by path, as vLLM does: one model, and which adapters act with it."""

import re
from pathlib import Path

from peft import PeftModel

from agent.serve.protocol import RefusedError, unknown_model
from envs.errors import UserError
from policies.backends.adapters import folder, lora
from policies.backends.adapters.weights import weights_sha256
from policies.backends.checkpoint import files
from policies.backends.huggingface import HFBackend, base_model

NAME = r"[\w-]{1,100}"  # of adapters: part of the names of tensors, in which a dot would separate


class Adapters:
    """The policy that is served, and adapters over its base, by name. The model's thread alone changes them.

    A policy that is a folder of adapters itself keeps these as its own; others are loaded over the same base.
    """

    def __init__(self, backend: HFBackend, name: str, checkpoint: Path, inside: Path | None = None, most: int = 8):
        """name: of the policy. inside: the folder in which clients may name adapters; None: they may load none. most:
        loaded at a time."""
        self._backend, self._name, self._inside, self._most = backend, name, inside, most
        self._adapted = backend.model if lora.is_adapted(backend.model) else None
        base = base_model(backend.model)
        self._base_bytes = sum(p.nbytes for p in base.parameters())
        self.weights_sha256, self.base_sha256 = weights_sha256(checkpoint), weights_sha256(Path(base.name_or_path))
        self._active = name
        self.paths: dict[str, Path] = {}  # of the adapters; never changed in place: other threads read it

    @property
    def names(self) -> tuple[str, ...]:
        """Of the models that answer, the policy first."""
        return self._name, *self.paths

    def act_as(self, name: str) -> HFBackend:
        """The backend, which answers as the model of this name. Raises RefusedError where it is not there any more."""
        if name not in self.names:
            raise unknown_model(name, self.names)
        if name != self._active:
            self._activate(name)
        return self._backend

    def load(self, name: str, path: str, in_place: bool) -> None:
        """Load the adapters in a folder. in_place: in the place of those of this name.

        Raises RefusedError for a folder or a name that may not be loaded, and for adapters that do not fit.
        """
        if not re.fullmatch(NAME, name) or name == self._name:
            raise RefusedError(f"lora_name {name[:100]!r}; valid: letters, digits, _ and -, not {self._name!r}")
        if name in self.paths:
            if not in_place:
                raise RefusedError(f"adapters {name!r} are loaded; valid: another name, or load_inplace")
            self.unload(name)
        if len(self.paths) >= self._most:
            raise RefusedError(f"{self._most} adapters are loaded; valid: to unload one of {', '.join(self.paths)}")
        found = self._checked(path)
        try:
            self._adapted = lora.load_beside(self._adapted or self._backend.model, found, _slot(name))
        except UserError as error:
            raise RefusedError(f"lora_path {path[-200:]!r}: {error}") from error
        except files.BROKEN as error:
            raise RefusedError(f"lora_path {path[-200:]!r} does not load: {files.said(error)}") from error
        self._adapted.eval()
        self.paths, self._active = self.paths | {name: found}, ""

    def unload(self, name: str) -> None:
        """Raises RefusedError where there are none of this name."""
        if name not in self.paths:
            raise unknown_model(name, self.paths)
        lora.remove(self._adapted, _slot(name))
        self.paths = {other: path for other, path in self.paths.items() if other != name}
        if not self.paths and not lora.is_adapted(self._backend.model):
            self._adapted, self._active = None, self._name
        else:
            self._active = ""

    def _activate(self, name: str) -> None:
        self._active = ""
        if self._adapted is not None:
            self._switch(self._adapted, name)
        self._active = name

    def _switch(self, adapted: PeftModel, name: str) -> None:
        own = lora.ADAPTER if lora.is_adapted(self._backend.model) else None
        slot = own if name == self._name else _slot(name)
        if slot is None:
            adapted.base_model.disable_adapter_layers()
        else:
            adapted.base_model.enable_adapter_layers()
            adapted.set_adapter(slot, inference_mode=True)

    def _checked(self, path: str) -> Path:
        """The folder of adapters that may be loaded."""
        if self._inside is None:
            raise RefusedError("this server loads no adapters; valid: handeye serve ... --adapters FOLDER")
        inside, given = self._inside.resolve(), Path(path)
        if not given.is_absolute() or not given.resolve().is_relative_to(inside):
            raise RefusedError(f"lora_path {path[-200:]!r}; valid: a folder in {str(inside)!r}, by its whole path")
        given = given.resolve()
        try:
            if not folder.has_adapters(given):
                raise UserError("no adapters (adapter_config.json) are there")
            files.check_json(given)
            files.check_weights(given)
            self._check_fits(given)
        except UserError as error:
            raise RefusedError(f"lora_path {path[-200:]!r}: {error}") from error
        return given

    def _check_fits(self, given: Path) -> None:
        recorded = folder.read_base(given)["weights_sha256"]
        if recorded not in (None, self.base_sha256):
            raise UserError(
                f"adapters of a base of SHA-256 {recorded[:12]}, and {self._name!r} has {str(self.base_sha256)[:12]}"
            )
        if (given / folder.WEIGHTS).stat().st_size > self._base_bytes:
            raise UserError("adapters that are larger than their base")


def _slot(name: str) -> str:
    """peft's name: not `default`, which is the policy's own."""
    return f"served_{name}"
