"""How many threads torch uses."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def one_thread() -> AbstractContextManager[None]:
    """One thread of torch while the block runs: sums depend on their number, episodes must not."""
    return torch_threads(1)


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """`n` threads of torch while the block runs, for what this thread computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
