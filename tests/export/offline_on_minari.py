"""Reads a Minari export with `minari` itself and trains a stock offline algorithm of d3rlpy on it, for a minute:

    handeye rollout reach out/episodes --policy expert --episodes 5000
    handeye export out/episodes out/reach-v0 --format minari
    python -m venv minari-venv
    minari-venv/bin/pip install 'minari[hdf5]' pyarrow pillow d3rlpy
    minari-venv/bin/python tests/export/offline_on_minari.py out/reach-v0 "reach the green cylinder"

TD3+BC (Fujimoto and Gu, 2021) from pixels, on the episodes of one instruction, as it reads no language. Prints what was
read, and how far the actor's actions are from the dataset's before and after: the root of the mean squared error, over
episodes that training did not see, beside that of always taking their mean action.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

TRAIN_S = 60.0  # of CPU
HELD_BACK = 10  # one episode of so many is not trained on
BATCH = 64


def main(folder: Path, instruction: str) -> None:
    os.environ["MINARI_DATASETS_PATH"] = str(folder.resolve().parent)
    import d3rlpy
    import minari

    d3rlpy.seed(0)
    read = minari.load_dataset(folder.name)
    every = list(read.iterate_episodes())
    episodes = [e for e in every if e.infos["instruction"][0] == instruction]
    trained = [e for i, e in enumerate(episodes) if i % HELD_BACK]
    held = [e for i, e in enumerate(episodes) if i % HELD_BACK == 0]
    dataset = d3rlpy.dataset.ReplayBuffer(
        d3rlpy.dataset.InfiniteBuffer(),
        episodes=[as_d3rlpy(e) for e in trained],
        transition_picker=d3rlpy.dataset.BasicTransitionPicker(),
    )
    algorithm = d3rlpy.algos.TD3PlusBCConfig(
        batch_size=BATCH,
        action_scaler=None,
        observation_scaler=d3rlpy.preprocessing.PixelObservationScaler(),
    ).create(device="cpu:0")
    algorithm.build_with_dataset(dataset)
    before, began, updates = error(algorithm, held), time.process_time(), 0
    while time.process_time() - began < TRAIN_S:
        algorithm.update(dataset.sample_transition_batch(BATCH))
        updates += 1
    actions = np.concatenate([e.actions for e in held])
    said = {
        "episodes": read.total_episodes,
        "steps": int(read.total_steps),
        "successes": sum(bool(e.infos["success"][-1]) for e in every),
        "trained_on": len(trained),
        "held_back": len(held),
        "observation": list(read.observation_space.shape),
        "action": list(read.action_space.shape),
        "updates": updates,
        "rmse_before": before,
        "rmse_after": error(algorithm, held),
        "rmse_of_the_mean": float(actions.std()),
    }
    print(json.dumps(said, indent=1))


def as_d3rlpy(episode):
    """Observations as (T, C, H, W) uint8; the one after the last action is d3rlpy's own affair."""
    import d3rlpy

    frames = np.ascontiguousarray(np.moveaxis(episode.observations[:-1], -1, 1))
    return d3rlpy.dataset.Episode(
        frames,
        np.asarray(episode.actions, np.float32),
        np.asarray(episode.rewards, np.float32)[:, None],
        bool(episode.terminations[-1]),
    )


def error(algorithm, episodes) -> float:
    """Root mean squared error of the actor's actions."""
    frames = np.concatenate([np.moveaxis(e.observations[:-1], -1, 1) for e in episodes])
    actions = np.concatenate([e.actions for e in episodes])
    return float(np.sqrt(np.mean((algorithm.predict(np.ascontiguousarray(frames)) - actions) ** 2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
