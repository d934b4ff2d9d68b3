"""Which .zip files of Stable-Baselines3 may be loaded: they hold pickles, and a pickle runs what code it names.

Known by SHA-256: those that ship, listed in SHA256SUMS (check it by `sha256sum -c`), and those that a person
vouches for in this process, by `--trust` or by having trained them here, now or before (`policies.experts.cache`).
"""

import hashlib
from functools import cache
from pathlib import Path

from envs.errors import UserError

SUMS = Path(__file__).parent / "SHA256SUMS"
_VOUCHED = set[str]()


@cache
def shipped() -> frozenset[str]:
    """SHA-256, in hex, of the files that ship."""
    return frozenset(line.split()[0] for line in SUMS.read_text().splitlines() if line.strip())


def vouch(path: Path) -> None:
    """Trust a file, with the content that it has now, in this process. One that is not there is left to `load`."""
    if path.is_file():
        _VOUCHED.add(hashlib.sha256(path.read_bytes()).hexdigest())


def vouch_hash(digest: str) -> None:
    """Trust whatever has this SHA-256, in hex, in this process."""
    _VOUCHED.add(digest)


def check(path: Path, content: bytes) -> None:
    """Raises UserError, naming file and hash, unless its content is that of a file that is trusted."""
    digest = hashlib.sha256(content).hexdigest()
    if digest not in shipped() and digest not in _VOUCHED:
        message = f"{str(path)!r} can run code when it is loaded, and is none that ships (SHA-256 {digest})"
        raise UserError(f"{message}; valid: --trust, if you trust whoever made it")
