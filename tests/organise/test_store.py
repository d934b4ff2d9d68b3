"""Episodes are read from disk exactly as they were written."""

import copy
import errno
import os
import pickle
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.collect.rollout import rollout
from agent.organise import part
from agent.organise.part import DamagedError
from agent.organise.records import SCHEMA, frames_of, table_of
from agent.organise.selection import examples
from agent.organise.store import EpisodeStore, read
from envs.errors import UserError
from envs.observation import decode_png, encode_png
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy
from policies.critic import Critique


def assert_same(stored, episodes):
    stored = list(stored)
    assert len(stored) == len(episodes)
    for a, b in zip(stored, episodes, strict=True):
        assert (a.task, a.seed, a.attempt, a.success) == (b.task, b.seed, b.attempt, b.success)
        assert (a.ending, a.error, len(a.steps)) == (b.ending, b.error, len(b.steps))
        assert (a.final_frame is None) == (b.final_frame is None)
        assert a.conclusion == b.conclusion
        if b.final_frame is not None:
            np.testing.assert_array_equal(a.final_frame, b.final_frame)
        for x, y in zip(a.steps, b.steps, strict=True):
            np.testing.assert_array_equal(x.observation.frames, y.observation.frames)
            assert x.observation.frames.dtype == np.uint8
            assert x.observation.instruction == y.observation.instruction
            assert x.observation.proprioception == y.observation.proprioception
            assert x.decision.answer == y.decision.answer
            np.testing.assert_array_equal(x.decision.action, y.decision.action)
            assert x.decision.action.dtype == y.decision.action.dtype
            assert x.decision.verdict == (None if y.decision.verdict is None else pytest.approx(y.decision.verdict))
            assert (x.decision.proposals, x.decision.critique) == (y.decision.proposals, y.decision.critique)
            assert x.reward == y.reward


@pytest.fixture
def store(tmp_path):
    return EpisodeStore(tmp_path / "episodes")


@pytest.fixture(scope="module")
def played():
    task = TASKS["reach"]
    codec = codec_for(task)
    starts = [(4, 0), (2, 0), (2, 1)]
    policies = ExpertPolicy(task, codec), RandomPolicy(codec.action.space)
    return [episode for policy in policies for episode in rollout(task, policy, starts)]


def test_episodes_make_the_round_trip(store, played):
    store.append(played)
    assert_same(store, played)


def test_odd_episodes_make_the_round_trip(store, episode, toy_task):
    class Still:
        def act(self, observations, rngs):
            from policies.base import Decision

            return [Decision("", np.zeros(2, np.float32)) for _ in observations]

    broken = rollout(toy_task(raises={1: 2, 2: 1}, raises_in_reset=(3,)), Still(), [(s, 0) for s in (1, 2, 3)])
    judged = episode([(1, 0), (2, 1)], success=True, verdicts=[0.25, 0.3])
    judged.conclusion = Critique(0.125, "red cube 1 2 +0 +1")
    told = replace(
        judged.steps[1].decision, proposals=(("move +2 +1", 0.25), ("move +0 +0", 0.5)), critique="move +1 +1"
    )
    judged.steps[1] = replace(judged.steps[1], decision=told)
    episodes = [*broken, judged, episode([(0, 0)], ending="broken")]
    store.append(episodes)
    assert_same(store, episodes)


def test_choices_make_the_round_trip(store, episode):
    """A discrete action is an integer, also one that float32 cannot represent."""
    one = episode([(1, 0), (0, 1)])
    for i, choice in enumerate((0, 2**24 + 1)):
        one.steps[i] = replace(one.steps[i], decision=replace(one.steps[i].decision, action=np.int64(choice)))
    store.append([one, episode([(1, 1)])])
    assert_same(store, [one, episode([(1, 1)])])


def test_several_frames_an_observation(store, episode):
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    one = episode([(1, 1)])
    one.steps[0] = replace(one.steps[0], observation=replace(one.steps[0].observation, frames=frames))
    store.append([one])
    assert_same(store, [one])


def test_a_second_append_adds(store, played, episode):
    store.append(played)
    before = {path: path.read_bytes() for path in store.folder.iterdir()}
    more = [episode([(1, 0)], seed=5), episode([(1, 0), (0, 1)], seed=1)]
    store.append(more)
    assert_same(store, played + more)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_many_parts_come_back_in_order(store, episode):
    for seed in range(12):
        store.append([episode([(1, 0)], seed=100 - seed)])
    assert [e.seed for e in store] == [100 - seed for seed in range(12)]


def test_nothing_but_parts_is_left(store, episode):
    store.append([episode([(1, 0)])])
    store.append([episode([(1, 0)])])
    assert sorted(path.name for path in store.folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_an_append_that_fails_leaves_no_part(store, episode):
    def episodes():
        yield episode([(1, 0)])
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        store.append(episodes())
    assert list(store) == []


def test_a_store_can_be_read_many_times(store, episode):
    store.append([episode([(1, 0)])])
    assert len(list(store)) == len(list(store)) == len(list(EpisodeStore(store.folder))) == 1


def test_an_empty_store_holds_nothing(store):
    assert list(store) == []


def test_png_is_exact():
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(frame)), frame)


# damage ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def whole(store, episode):
    """The file of a part of three episodes, small enough that each of its bytes can be flipped."""
    store.append([episode([(1, 0), (2, 1)], success=True, seed=seed) for seed in range(3)])
    return store.parts()[0]


def test_every_flipped_byte_is_found(whole):
    content = whole.read_bytes()
    for i in range(len(content)):
        changed = bytearray(content)
        changed[i] ^= 1 << i % 8
        whole.write_bytes(changed)
        with pytest.raises(DamagedError, match="cannot be read"):
            part.check(whole)
    whole.write_bytes(content)
    part.check(whole)


@pytest.mark.parametrize("length", [0, 1, 4, 8, 100, -1, -8, -100])
def test_a_truncated_part_is_named(whole, length):
    whole.write_bytes(whole.read_bytes()[:length])
    with pytest.raises(DamagedError, match=re.escape(str(whole))):
        read(whole)


@pytest.mark.parametrize("more", [b"\0", b"PAR1", b"\0" * 4096])
def test_bytes_too_many_are_found(whole, more):
    content = whole.read_bytes()
    for longer in (content + more, more + content, content[:200] + more + content[200:], content + content):
        whole.write_bytes(longer)
        with pytest.raises(DamagedError):
            read(whole)


def test_a_foreign_part_is_named(whole, tmp_path):
    table = pq.read_table(whole)
    pq.write_table(table, whole)
    with pytest.raises(DamagedError, match="no checksum"):
        read(whole)
    part.write(whole, table.drop_columns(["reward", "answer"]))
    with pytest.raises(DamagedError, match="no column answer, reward"):
        read(whole)
    part.write(whole, table, version=part.VERSION + 1)
    with pytest.raises(DamagedError, match="schema is 3, newer than 2"):
        read(whole)
    part.write(whole, table.set_column(1, "seed", pa.array(["0"] * len(table))))
    with pytest.raises(DamagedError, match="column seed is string"):
        read(whole)


def test_what_is_no_file_is_named(whole):
    whole.unlink()
    with pytest.raises(DamagedError, match="No such file"):
        read(whole)
    whole.mkdir()
    with pytest.raises(DamagedError, match="Is a directory"):
        read(whole)


def test_damaged_parts_are_set_aside_and_the_rest_is_read(store, episode, tmp_path):
    for seed in range(4):
        store.append([episode([(1, 0)], seed=seed)])
    first, second, third, _ = store.parts()
    first.write_bytes(first.read_bytes()[:-1])
    third.unlink()
    third.mkdir()
    with pytest.raises(DamagedError):
        list(store)
    said = []
    assert [e.seed for e in store.undamaged(said.append)] == [1, 3]
    assert [path.name in line for path, line in zip((first, third), said, strict=True)] == [True, True]
    lines = store.rescue(tmp_path / "run" / "quarantine")
    assert [line.split("; set aside")[0] for line in lines] == said
    assert [e.seed for e in store] == [1, 3]
    assert sorted(os.listdir(tmp_path / "run" / "quarantine")) == [f"episodes-{path.name}" for path in (first, third)]
    assert store.rescue(tmp_path / "run" / "quarantine") == []
    for path in (first, second):  # the name of the first is taken in the quarantine
        path.write_bytes(b"")
    assert len(store.rescue(tmp_path / "run" / "quarantine")) == 2
    assert [e.seed for e in store] == [3]
    assert len(os.listdir(tmp_path / "run" / "quarantine")) == 4


# parts -----------------------------------------------------------------------------------------------------------
def test_the_same_episodes_give_the_same_bytes_whatever_came_between(tmp_path, played):
    """Appended at once, or streamed in parts, read again and put into order."""
    whole, streamed, final = (EpisodeStore(tmp_path / name) for name in ("whole", "streamed", "final"))
    whole.append(played)
    for e in (played[4], played[1], played[0], *played[2:4], played[5], played[1]):
        streamed.append([e])
    found = {(e.task, e.seed, e.attempt, e.success): e for e in streamed}
    final.append(found[e.task, e.seed, e.attempt, e.success] for e in played)
    assert [path.read_bytes() for path in final.parts()] == [path.read_bytes() for path in whole.parts()]


def test_parts_end_between_episodes_at_a_bound(store, played, monkeypatch):
    size = sum(len(png) for step in played[0].steps for png in step.observation.pngs())
    monkeypatch.setattr("agent.organise.store.PART_BYTES", 2 * size)
    taken = []

    def episodes():
        for e in played:
            taken.append(len(store.parts()))
            yield e

    store.append(episodes())
    assert_same(store, played)
    written = [len(list(read(path))) for path in store.parts()]
    assert len(written) > 2
    assert max(written) < len(played)
    assert taken[-1] > 0  # a part was written before the last episode was asked for
    monkeypatch.setattr("agent.organise.store.PART_ROWS", 1)
    store.append(played)
    assert len(store.parts()) == len(written) + len(played)


def test_of_two_episodes_of_one_start_the_last_counts(store, episode):
    store.append([episode([(1, 0)], seed=1, ending="broken"), episode([(1, 0)], seed=2)])
    store.append([episode([(1, 0), (2, 0)], seed=1)])
    found = store.by_key()
    assert list(found) == [("toy", 1, 0), ("toy", 2, 0)]
    assert (found["toy", 1, 0].ending, len(found["toy", 1, 0].steps)) == ("truncated", 2)


def test_a_full_disk_is_named_and_the_parts_before_stay(store, episode, monkeypatch):
    monkeypatch.setattr("agent.organise.store.PART_ROWS", 2)
    synced = []

    def fsync(descriptor, really=os.fsync):
        synced.append(descriptor)
        if len(synced) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="no space is left"):
        store.append(episode([(1, 0)], seed=seed) for seed in range(5))
    monkeypatch.undo()
    assert 0 < len(list(store)) < 5


def test_the_key_of_an_observation_is_stored(store, played):
    store.append(played)
    for a, b in zip(store, played, strict=True):
        assert [s.observation.key() for s in a.steps] == [s.observation.key() for s in b.steps]


# references ------------------------------------------------------------------------------------------------------
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


def test_references_follow_a_renamed_folder(store, played):
    appended = copy.deepcopy(played)
    store.append(appended, by_reference=True)
    stored, committed = list(store), store.folder.with_name("committed")
    os.rename(store.folder, committed)
    with pytest.raises(DamagedError, match=r"part-00000.parquet' cannot be read: No such file .* frames of episodes"):
        _ = stored[0].steps[0].observation.frames
    store.moved(committed)
    for episodes in (stored, appended, store):
        assert_same(episodes, played)


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


@pytest.mark.parametrize("change", [{"proposals": "[1]"}, {"action": "{}"}, {"options": "{"}, {"versions": "nan?"}])
def test_rows_that_say_no_episode_are_a_broken_one(store, episode, change):
    """Whoever knows the digests can write what is no episode: it must not end a run."""
    store.append([episode([(1, 0)]), episode([(1, 0)], seed=1)])
    (path,) = store.parts()
    rows = pq.read_table(path).to_pylist()
    for row in rows[:2]:
        row |= {name: value for name, value in change.items() if row[name]}
    part.write(path, table_of([{name: row[name] for name in SCHEMA.names} for row in rows]))
    assert [e.ending for e in store] == ["broken", "truncated"]


def test_frames_of_many_pages_are_found(store, episode):
    """Alike, next to each other, and larger than a page of Parquet."""
    rng, one = np.random.default_rng(0), episode([(1, 1), (2, 2), (0, 1)])
    frames = rng.integers(0, 256, (2, 700, 700, 3), np.uint8)
    for i, seen in enumerate((frames, frames, frames[:1])):
        one.steps[i] = replace(one.steps[i], observation=replace(one.steps[i].observation, frames=seen))
    store.append([one, one])
    assert_same(store, [one, one])
