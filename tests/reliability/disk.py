"""What a crash leaves of a folder: kept for each moment of a run, and put back.

A model of a disk, after LazyFS and after Pillai et al. (2014), "All File Systems Are Not Created Equal". What was
written to a file is in the page cache until an fsync of that file, and so are a folder's entries until an fsync of it.
"""

import hashlib
import itertools
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.shim import Operation
from tests.reliability.tiny import normal

FOLDER = ""  # the content of a folder, in a tree
VARIANTS = {
    "kill": "the process is killed: all that was written is there",
    "lost": "a power cut: of files and folders only what was synced; an unsynced rename or deletion has not happened",
    "torn": "a power cut: all names are there, of what was not synced the first half",
    "empty": "a power cut: all names are there, of what was not synced nothing",
}
Tree = dict[str, str]  # path, relative to the run's folder, "." itself -> hash of the content, or FOLDER


@dataclass
class Blobs:
    """Contents by their SHA-256, in a folder."""

    folder: Path
    _halves: dict[tuple[str | None, str, bool], str] = field(default_factory=dict)
    _normal: dict[tuple[str, str], str] = field(default_factory=dict)

    def put(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        if not (self.folder / name).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
        return name

    def get(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def torn(self, synced: str | None, now: str, half: bool) -> str:
        """What was synced and then, of what was added, the first half or nothing."""
        key = synced, now, half
        if key not in self._halves:
            content, kept = self.get(now), self.get(synced) if synced else b""
            kept = kept if content.startswith(kept) else b""
            added = content[len(kept) :]
            self._halves[key] = self.put(kept + added[: len(added) // 2 if half else 0])
        return self._halves[key]

    def key(self, tree: Tree) -> str:
        """Equal for two trees that differ in times only."""
        parts = []
        for path, name in sorted(tree.items()):
            if name and (path, name) not in self._normal:
                self._normal[path, name] = hashlib.sha256(normal(path, self.get(name))).hexdigest()
            parts.append(f"{path}\0{name and self._normal[path, name]}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Disk:
    """The run's folder `run` of the working folder `base`, watched by a `Shim`."""

    def __init__(self, base: Path, run: str, blobs: Blobs):
        self._base, self._run, self.blobs = base, base / run, blobs
        self._ids = itertools.count()
        self._live: dict[int, int] = {}  # inode -> id; inodes are used again, ids are not
        self._read: dict[int, tuple[tuple[int, ...], str]] = {}  # inode -> stamp and content
        self._synced: dict[int, str] = {}  # id of a file -> content
        self._entries: dict[int, dict[str, tuple[int, bool]]] = {}  # id of a folder -> name -> id, whether a folder
        self._is_run_synced = False

    def tree(self) -> Tree | None:
        """What is there; None without a run's folder."""
        nodes = self._scan()
        return {path: name for path, (_, name) in nodes.items()} if nodes else None

    def states(self) -> dict[str, Tree | None]:
        """Variant -> what a crash now would leave; None where it leaves no folder of a run."""
        nodes, states = self._scan(), {}
        states["kill"] = {path: name for path, (_, name) in nodes.items()} if nodes else None
        states["lost"] = self._durable(nodes["."][0]) if nodes and self._is_run_synced else None
        for variant in ("torn", "empty"):
            states[variant] = {path: self._unsynced(*node, variant == "torn") for path, node in nodes.items()} or None
        return states

    def after(self, operation: Operation) -> None:
        """The operation has been done."""
        path = self._base / operation.path
        if operation.kind in ("write", "truncate"):
            self._read.pop(os.stat(path).st_ino, None)
        if operation.kind == "fsync":
            self._sync(path)

    def _sync(self, path: Path) -> None:
        if path == self._base:
            self._is_run_synced = True
            return
        nodes = self._scan()
        ident, name = nodes[path.relative_to(self._run).as_posix()]
        if name:
            self._synced[ident] = name
            return
        children = {p.name: p.relative_to(self._run).as_posix() for p in path.iterdir()}
        self._entries[ident] = {}
        moved = {nodes[child][0] for child in children.values()}
        for entries in self._entries.values():  # a rename is on the disk in both folders or in none
            for gone in [name for name, (child, _) in entries.items() if child in moved]:
                del entries[gone]
        self._entries[ident] = {n: (nodes[c][0], nodes[c][1] == FOLDER) for n, c in children.items()}

    def _scan(self) -> dict[str, tuple[int, str]]:
        """Path -> id and content."""
        nodes, seen = {}, set()
        for folder, _, files in os.walk(self._run):
            relative = os.path.relpath(folder, self._run)
            inode = os.stat(folder).st_ino
            seen.add(inode)
            nodes[relative] = inode, FOLDER
            for file in files:
                path = os.path.join(folder, file)
                stat = os.stat(path)
                seen.add(stat.st_ino)
                nodes[os.path.normpath(os.path.join(relative, file))] = stat.st_ino, self._content(path, stat)
        for gone in self._live.keys() - seen:
            del self._live[gone]
            self._read.pop(gone, None)
        for inode in seen - self._live.keys():
            self._live[inode] = next(self._ids)
        return {path: (self._live[inode], name) for path, (inode, name) in nodes.items()}

    def _content(self, path: str, stat: os.stat_result) -> str:
        stamp = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        if self._read.get(stat.st_ino, (None,))[0] != stamp:
            self._read[stat.st_ino] = stamp, self.blobs.put(Path(path).read_bytes())
        return self._read[stat.st_ino][1]

    def _durable(self, ident: int, path: str = ".") -> Tree:
        tree = {path: FOLDER}
        for name, (child, is_folder) in self._entries.get(ident, {}).items():
            place = os.path.normpath(os.path.join(path, name))
            if is_folder:
                tree |= self._durable(child, place)
            else:
                tree[place] = self._synced.get(child) or self.blobs.put(b"")
        return tree

    def _unsynced(self, ident: int, name: str, half: bool) -> str:
        if name == FOLDER or self._synced.get(ident) == name:
            return name
        return self.blobs.torn(self._synced.get(ident), name, half)


def put_back(tree: Tree | None, run: Path, blobs: Blobs) -> None:
    """Make the run's folder what the tree says."""
    shutil.rmtree(run, ignore_errors=True)
    for path, name in sorted((tree or {}).items()):
        if name == FOLDER:
            (run / path).mkdir(parents=True, exist_ok=True)
        else:
            (run / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blobs.folder / name, run / path)
