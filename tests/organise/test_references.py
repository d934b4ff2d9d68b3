"""Episodes of a store refer to their frames, and frames are read when they are asked for."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from same_episodes import assert_same

from agent.organise import part
from agent.organise.part import DamagedError
from agent.organise.records import frames_of
from agent.organise.selection import examples
from agent.organise.store import EpisodeStore, read


def in_memory(episode):
    """The [bytes] of PNGs that an episode holds itself."""
    return sum(len(frame._png) for frame in frames_of(episode) if isinstance(frame._png, bytes))


def test_an_episode_of_a_store_refers_to_its_frames(store, played):
    store.append(played)
    assert all(in_memory(e) for e in played)
    stored = list(store)
    assert not any(in_memory(e) for e in stored)
    assert len(pickle.dumps(stored)) < len(pickle.dumps(played)) / 2
    travelled = pickle.loads(pickle.dumps(stored))  # into a worker's process
    assert_same(travelled, played)
    assert [e.image_size for e in stored] == [64] * len(played)
    for a, b in zip(stored, played, strict=True):
        np.testing.assert_array_equal(a.end.frames, b.end.frames)
        assert not in_memory(replace(a, steps=a.steps[:1]))


def test_what_was_appended_can_be_held_by_reference(store, played):
    """Also by branches, ends and examples, which share the frames."""
    before, episodes = copy.deepcopy(played), copy.deepcopy(played)
    branch = replace(episodes[0], steps=episodes[0].steps[:2], branched_at=1)
    shown = examples(episodes[:1])[0].shown
    store.append(episodes, by_reference=True)
    assert not any(in_memory(e) for e in (*episodes, branch))
    assert not any(isinstance(frame._png, bytes) for frame in (*shown, *episodes[0].end.packed_frames()))
    assert_same(episodes, before)
    again = EpisodeStore(store.folder.with_name("again"))
    again.append(episodes)
    assert [path.read_bytes() for path in again.parts()] == [path.read_bytes() for path in store.parts()]


def test_a_frame_is_not_read_from_a_file_that_has_changed(store, played):
    store.append(played)
    stored = list(store)
    (path,) = store.parts()
    content = path.read_bytes()
    for changed in (content[:1000], content[:100] + b"\0" + content[100:], b"\0" * len(content)):
        path.write_bytes(changed)
        with pytest.raises(DamagedError, match="has changed since it was opened"):
            _ = [e.final_frame for e in stored]


def test_frames_that_are_not_stored_plainly_are_named(store, played, monkeypatch):
    store.append(played)
    (path,) = store.parts()
    table = pq.read_table(path)
    monkeypatch.setattr(part, "_PLAINLY", "snappy")
    part.write(path, table)
    with pytest.raises(DamagedError, match="column frames is compressed"):
        read(path)


def test_frames_of_many_pages_are_found(store, episode):
    """Alike, next to each other, and larger than a page of Parquet."""
    rng, one = np.random.default_rng(0), episode([(1, 1), (2, 2), (0, 1)])
    frames = rng.integers(0, 256, (2, 700, 700, 3), np.uint8)
    for i, seen in enumerate((frames, frames, frames[:1])):
        one.steps[i] = replace(one.steps[i], observation=replace(one.steps[i].observation, frames=seen))
    store.append([one, one])
    assert_same(store, [one, one])
