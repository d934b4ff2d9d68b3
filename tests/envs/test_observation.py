"""Observations are kept as PNGs without a loss, and are known by a key."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from envs.errors import UserError
from envs.observation import Observation, PackedFrame, PackedObservation, Withheld
from envs.registry import TASKS


@pytest.fixture
def seen():
    frames = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), np.uint8)
    return Observation(frames, "reach the red cube", "gripper 3 4")


def test_what_is_packed_is_the_same(seen):
    packed = seen.packed()
    np.testing.assert_array_equal(packed.frames, seen.frames)
    assert (packed.instruction, packed.proprioception) == (seen.instruction, seen.proprioception)
    assert packed.key() == seen.key() == PackedObservation.of(packed.pngs(), *words(seen)).key()
    assert packed.pngs() == seen.pngs()
    assert packed.packed() is packed


def words(observation):
    return observation.instruction, observation.proprioception


def test_a_packed_observation_travels_and_is_changed_as_any_other(seen):
    packed = pickle.loads(pickle.dumps(seen.packed()))
    assert packed.key() == seen.key()
    darker = replace(packed, frames=seen.frames // 2)
    np.testing.assert_array_equal(darker.frames, seen.frames // 2)
    assert darker.key() == replace(seen, frames=seen.frames // 2).key() != seen.key()
    assert words(replace(packed, instruction="push")) == ("push", seen.proprioception)
    with pytest.raises(AttributeError):
        packed.instruction = "push"


def test_an_ending_is_of_the_first_and_the_last_frame(seen):
    first = replace(seen, frames=seen.frames[::-1])
    for a, b in ((seen, first), (seen.packed(), first.packed())):
        np.testing.assert_array_equal(a.since(b).frames, [seen.frames[0], seen.frames[2]])
        assert words(a.since(b)) == words(seen)


@pytest.mark.parametrize("change", [{"instruction": "push"}, {"proprioception": ""}])
def test_other_words_are_another_observation(seen, change):
    assert replace(seen, **change).key() != seen.key()


def test_the_boundary_of_the_words_counts(seen):
    assert Observation(seen.frames, "ab", "c").key() != Observation(seen.frames, "a", "bc").key()


def test_what_is_withheld_is_not_seen(seen):
    blind = Withheld(frames=True).seen(seen)
    assert blind.frames.shape == seen.frames.shape
    assert np.unique(blind.frames).tolist() == [128]
    assert words(blind) == words(seen)


def test_another_instruction_is_never_its_own(seen):
    told = ("push the red cube", "reach the blue cube", "reach the red cube")
    deaf = Withheld(instructions=told)
    for instruction in (*told, "open the drawer"):
        first, again = (deaf.seen(replace(seen, instruction=instruction)) for _ in range(2))
        assert first.instruction in set(told) - {instruction}
        assert first.instruction == again.instruction
        np.testing.assert_array_equal(first.frames, seen.frames)


def test_a_large_frame_is_kept_small():
    task = TASKS["push"].sized(256)
    env = task.make()
    env.reset(seed=0)
    observation = task.observe(env)
    env.close()
    assert sum(map(len, observation.packed().pngs())) < observation.frames.nbytes / 20


@pytest.mark.parametrize("side", [0, 2**15, 2**31])
def test_a_picture_larger_than_any_frame_is_not_decoded(seen, side):
    png = seen.pngs()[0]
    bomb = png[:16] + side.to_bytes(4, "big") * 2 + png[24:]
    with pytest.raises(UserError, match=f"{side} x {side}; valid: a PNG of at most 67108864 pixels"):
        PackedFrame(bomb).unpacked()


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG"])
def test_what_is_no_picture_is_named(data):
    with pytest.raises(UserError, match="valid: a PNG"):
        PackedFrame(data).unpacked()
