"""Demonstrations in HDF5, as robomimic and LIBERO publish them: `data/demo_N` for each episode, read by `h5py`.

Read are `actions`; `states`, MuJoCo's before each action as robosuite flattens them (time [s], joint positions and
velocities); and the pictures in `obs`, such as `agentview_rgb` or `robot0_eye_in_hand_image`. Of the attributes of
`data` are read `env_args` (its `control_freq`: actions per second), `problem_info` (LIBERO's instruction), and
`macros_image_convention`: LIBERO's pictures are upside down. Neither format records seeds.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.organise.demonstrations.demonstration import Demonstration
from envs.errors import UserError, first_line

BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)  # what h5py and JSON raise
EPISODES = re.compile(r"demo_(\d+)")
PICTURE = re.compile(r"(?P<camera>.+)_(rgb|image)")
UPSIDE_DOWN = "opengl"  # robosuite's `macros.IMAGE_CONVENTION`


def read(path: Path) -> Iterator[Demonstration]:
    """The episodes by their numbers. Raises UserError without h5py, and for what is no file of this layout."""
    try:
        import h5py  # an extra
    except ImportError as error:
        valid = "valid once it is installed: pip install 'handeye[hdf5]'"
        raise UserError(f"'hdf5:{path}' needs {error.name or first_line(error)}; {valid}") from error
    try:
        with h5py.File(path, "r") as file:
            for number in _numbers(file, path):
                yield _episode(file["data"], f"demo_{number}", path)
    except BROKEN as error:
        raise UserError(f"'hdf5:{path}' cannot be read: {type(error).__name__}: {first_line(error)}") from error


def _numbers(file: Mapping[str, Any], path: Path) -> list[int]:
    """Raises UserError where there is no episode."""
    held = file.get("data", {})
    numbers = sorted(int(match[1]) for name in held if (match := EPISODES.fullmatch(name)))
    if not numbers:
        found = ", ".join(list(held or file)[:5]) or "nothing"
        raise UserError(f"'hdf5:{path}' has no data/demo_0, but {found}; valid: the layout of robomimic or LIBERO")
    return numbers


def _episode(data: Any, name: str, path: Path) -> Demonstration:
    where, episode = f"{name} of 'hdf5:{path}'", data[name]
    if "actions" not in episode:
        raise UserError(f"{where} has no actions; it has {', '.join(episode)}")
    actions = np.asarray(episode["actions"])
    states = np.asarray(episode["states"]) if "states" in episode else None
    seen = {match["camera"]: key for key in episode.get("obs", ()) if (match := PICTURE.fullmatch(key))}
    for what, held in [("states", states), *((f"obs/{key}", episode["obs"][key]) for key in seen.values())]:
        if held is not None and len(held) != len(actions):
            raise UserError(f"{where} has {len(actions)} actions and {len(held)} {what}; valid: as many")
    about = {key: json.loads(data.attrs[key]) for key in ("env_args", "problem_info") if key in data.attrs}
    told = about.get("problem_info", {}).get("language_instruction", "")
    return Demonstration(
        where,
        list(actions),
        instruction="".join(told).strip(),
        pictures=(lambda: _pictures(path, name, tuple(seen.values()))) if seen else None,
        fps=about.get("env_args", {}).get("env_kwargs", {}).get("control_freq"),
        cameras=tuple(seen),
        states=states,
    )


def _pictures(path: Path, name: str, keys: tuple[str, ...]) -> np.ndarray:
    """(T, cameras, H, W, 3) uint8, upright. Raises UserError for what is no picture, or of another size."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            data = file["data"]
            stacked = np.stack([data[name]["obs"][key] for key in keys], axis=1)
            is_flipped = data.attrs.get("macros_image_convention") == UPSIDE_DOWN
    except BROKEN as error:
        where = f"pictures of {name} of 'hdf5:{path}'"
        raise UserError(f"{where} cannot be read: {type(error).__name__}: {first_line(error)}") from error
    if stacked.ndim != 5 or stacked.shape[-1] != 3 or stacked.dtype != np.uint8:
        shape = f"{stacked.dtype} of shape {stacked.shape[2:]}"
        raise UserError(f"pictures of {name} of 'hdf5:{path}' are {shape}; valid: uint8, (H, W, 3)")
    return np.ascontiguousarray(stacked[:, :, ::-1]) if is_flipped else stacked
