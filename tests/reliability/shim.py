"""Counts what a process does to the files of a folder, and lets a listener look on, or raise, before each operation.

Python's own ways to a file are patched: `open`, a file's `write` and `truncate`, os.open, os.fsync, os.replace,
os.rename, os.mkdir, os.rmdir, os.unlink, and with these pathlib and shutil. Of writers in C++ and Rust, `torch.save`
and safetensors' `save_file` count as one operation each; a tokenizer's file is not counted.
"""

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

ALLOCATES = ("create", "write", "mkdir", "rename", "fsync", "torch.save", "safetensors")  # what a full disk refuses


@dataclass(frozen=True)
class Operation:
    """The n-th operation, from 0. path: relative to the folder that contains the watched one."""

    number: int
    kind: str
    path: str


Before = Callable[[Operation], None]
After = Callable[[Operation], None]


class Shim:
    """The operations below a folder. before, after: called with each one; what `before` raises, it raises."""

    def __init__(self, folder: Path, before: Before, after: After = lambda operation: None):
        self._folder, self._base = str(folder.resolve()), str(folder.resolve().parent)
        self._before, self._after, self.count = before, after, 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """In the block, this process's operations are counted."""
        import safetensors.torch
        import torch
        import transformers.modeling_utils

        patches = [
            mock.patch.object(builtins, "open", self._opening(builtins.open)),
            mock.patch.object(io, "open", self._opening(io.open)),
            mock.patch.object(os, "open", self._os_open(os.open)),
            mock.patch.object(os, "fsync", self._fsync(os.fsync)),
            mock.patch.object(torch, "save", self._native(torch.save, "torch.save", lambda object, f: f)),
            mock.patch.object(shutil, "_use_fd_functions", False),  # rmtree by paths
            mock.patch.object(shutil, "_USE_CP_SENDFILE", False),  # copies by writes
        ]
        for name, kind in (("replace", "rename"), ("rename", "rename")):
            patches.append(mock.patch.object(os, name, self._moving(getattr(os, name), kind)))
        for name in ("mkdir", "rmdir", "unlink", "remove"):
            kind = "unlink" if name == "remove" else name
            patches.append(mock.patch.object(os, name, self._plain(getattr(os, name), kind)))
        for module in (safetensors.torch, transformers.modeling_utils):
            name = "save_file" if hasattr(module, "save_file") else "safe_save_file"
            saving = self._native(getattr(module, name), "safetensors", lambda tensors, filename: filename)
            patches.append(mock.patch.object(module, name, saving))
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()

    def _relative(self, path: Any) -> str | None:
        """The path relative to the base; None for one that lies outside of the folder."""
        if isinstance(path, int):
            return None
        whole = os.path.abspath(os.fspath(path))
        inside = whole == self._folder or whole.startswith(self._folder + os.sep)
        return os.path.relpath(whole, self._base) if inside else None

    @contextmanager
    def _operation(self, kind: str, path: str | None) -> Iterator[None]:
        if path is None:
            yield
            return
        operation, self.count = Operation(self.count, kind, path), self.count + 1
        self._before(operation)
        yield
        self._after(operation)

    def _plain(self, function: Callable, kind: str) -> Callable:
        def patched(path, *args, **named):
            with self._operation(kind, self._relative(path)):
                return function(path, *args, **named)

        return patched

    def _moving(self, function: Callable, kind: str) -> Callable:
        def patched(source, destination, **named):
            with self._operation(kind, self._relative(destination)):
                return function(source, destination, **named)

        return patched

    def _fsync(self, function: Callable) -> Callable:
        def patched(descriptor):
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            inside = os.path.relpath(path, self._base) if path == self._base else self._relative(path)
            with self._operation("fsync", inside):
                return function(descriptor)

        return patched

    def _os_open(self, function: Callable) -> Callable:
        def patched(path, flags, mode=0o777, **named):
            creates = flags & os.O_CREAT and not os.path.exists(path)
            with self._operation("create", self._relative(path) if creates else None):
                return function(path, flags, mode, **named)

        return patched

    def _opening(self, function: Callable) -> Callable:
        def patched(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            relative = self._relative(file)
            if relative is None or not set(mode) & set("wax+"):
                return function(file, mode, buffering, encoding, errors, newline, closefd, opener)
            changes = "w" in mode or not os.path.exists(file)
            with self._operation("create", relative if changes else None):
                raw = _Counted(file, mode.replace("b", "").replace("t", ""), self, relative)
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        return patched

    def _native(self, function: Callable, kind: str, path_of: Callable) -> Callable:
        def patched(what, where, *args, **named):
            path = path_of(what, where)
            is_path = isinstance(path, str | os.PathLike)
            with self._operation(kind, self._relative(path) if is_path else None):
                return function(what, where, *args, **named)

        return patched


class _Counted(io.FileIO):
    """A file whose writes are operations."""

    def __init__(self, path: Any, mode: str, shim: Shim, relative: str):
        super().__init__(path, mode)
        self._shim, self._relative = shim, relative

    def write(self, data: Any) -> int:
        with self._shim._operation("write", self._relative):
            return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        with self._shim._operation("truncate", self._relative):
            return super().truncate(size)


class Fault:
    """Fails the k-th operation, and with ENOSPC all later ones that need room: a full disk stays full."""

    def __init__(self, code: int, k: int):
        self.code, self.k, self.hit = code, k, None

    def __call__(self, operation: Operation) -> None:
        """Raises OSError, or what torch and safetensors make of it."""
        is_full = self.code == errno.ENOSPC
        due = operation.number >= self.k if is_full else operation.number == self.k
        if not due or (is_full and operation.kind not in ALLOCATES):
            return
        self.hit = self.hit or operation
        text = os.strerror(self.code)
        if operation.kind == "torch.save":
            raise RuntimeError(f"PytorchStreamWriter failed writing file data/0: {text}")
        if operation.kind == "safetensors":
            from safetensors import SafetensorError

            raise SafetensorError(f"Error while serializing: I/O error: {text} (os error {self.code})")
        raise OSError(self.code, text, operation.path)
