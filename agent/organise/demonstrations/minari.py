"""Minari datasets (Farama): actions of each episode and the seed that it began with, read by the package `minari`.

Minari records no actions per second; `handeye export` writes `fps` into the metadata of a dataset.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.organise.demonstrations.demonstration import Demonstration
from envs.errors import UserError, first_line


def read(folder: Path, environment: str) -> Iterator[Demonstration]:
    """folder: of a dataset, or its `data`. environment: as `reading.read`. Raises UserError without the package, for
    what is no dataset, and for one of another environment."""
    dataset = _opened(folder)
    of = dataset.env_spec and dataset.env_spec.id
    if of and of != environment.rpartition(":")[2]:
        raise UserError(f"'minari:{folder}' is of {of!r}; valid: of {environment!r}")
    indices = dataset.episode_indices
    recorded = dataset.storage.get_episode_metadata(indices)
    for episode, metadata in zip(dataset.iterate_episodes(), recorded, strict=True):
        seed = metadata.get("seed")
        yield Demonstration(
            f"episode {episode.id} of 'minari:{folder}'",
            list(episode.actions),
            None if seed is None or int(seed) < 0 else int(seed),
            metadata.get("options") or {},
            pictures=_pictures(episode.observations, len(episode.actions)),
            fps=dataset.storage.metadata.get("fps"),
        )


def _opened(folder: Path) -> Any:
    try:
        from minari import MinariDataset  # an extra

        return MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
    except ImportError as error:  # of minari, or of what it reads a format with
        valid = "valid once it is installed: pip install 'handeye[minari]'"
        raise UserError(f"'minari:{folder}' needs {error.name or first_line(error)}; {valid}") from error
    except (ValueError, LookupError, OSError, AssertionError) as error:
        raise UserError(f"'minari:{folder}' is no dataset of Minari: {first_line(error)}") from error


def _pictures(observations: Any, steps: int) -> Any:
    """Reads observations that are pictures, (T + 1, H, W, 3) uint8, or a dictionary of a picture for each camera; None
    for others."""
    cameras = list(observations.values()) if isinstance(observations, dict) else [observations]
    if all(isinstance(each, np.ndarray) and each.dtype == np.uint8 and each.ndim == 4 for each in cameras):
        return lambda: np.stack([each[:steps] for each in cameras], axis=1)
    return None
