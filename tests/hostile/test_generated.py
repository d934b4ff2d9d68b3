"""Generated inputs: action spaces, infos, question rows, pictures. Each works, or is refused in one line."""

import io
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from question_files import ROW, put

from envs.errors import SimulatorError, UserError
from envs.foreign.values import rounded
from envs.suites.questions.pictures import decoded
from envs.suites.questions.vqa_data import load
from envs.task import ActionWords
from envs.wrappers import Judged, SuccessRule
from policies.action_codec import _action_codec
from policies.baselines import RandomPolicy


def refused_in_one_line(error):
    return "\n" not in str(error) and "; valid: " in str(error) and len(str(error)) < 3000


def outcome(call, *arguments):
    """What it returns, and what it raises that is ours."""
    try:
        return call(*arguments), None
    except (UserError, SimulatorError) as error:
        return None, error


# action spaces ---------------------------------------------------------------------------------------------------
whole = st.integers(1, 6)
one = st.one_of(
    whole.map(gym.spaces.Discrete),
    st.builds(lambda n, start: gym.spaces.Discrete(n, start=start), whole, st.integers(-9, 9)),
    st.lists(whole, min_size=1, max_size=4).map(gym.spaces.MultiDiscrete),
    st.lists(whole, min_size=1, max_size=4).map(lambda n: gym.spaces.MultiDiscrete([n, n])),
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(gym.spaces.MultiBinary),
    st.builds(lambda low, n: gym.spaces.Box(low, low + n, (n,), np.float32), st.integers(-5, 5), whole),
    st.builds(lambda n, m: gym.spaces.Box(-1, 1, (n, m), np.float64), whole, whole),
    st.sampled_from([(-np.inf, np.inf), (0, np.inf), (-1e38, 1e38), (-np.inf, 0)]).map(
        lambda bounds: gym.spaces.Box(*bounds, (2,), np.float32)
    ),
    st.builds(lambda n: gym.spaces.Text(n), st.integers(1, 60)),
)
spaces = st.recursive(
    one,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(gym.spaces.Tuple),
        st.dictionaries(st.text("ab .:", min_size=1, max_size=3), inner, min_size=1, max_size=3).map(gym.spaces.Dict),
        inner.map(gym.spaces.Sequence),
        st.lists(inner, min_size=1, max_size=2).map(gym.spaces.OneOf),
    ),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(spaces, st.sampled_from([3, 9]), st.integers(0, 99))
def test_any_space_has_words_that_are_an_action_of_it_or_is_refused(space, levels, seed):
    codec, error = outcome(_action_codec, space, ActionWords(levels))
    if error:
        assert refused_in_one_line(error)
    elif not isinstance(space, gym.spaces.Text):
        (decision,) = RandomPolicy(space).act([None], [np.random.default_rng(seed)])
        said = codec.encode(decision.action)
        assert "\n" not in said
        assert codec.encode(codec.decode(said)) == said
        assert space.contains(codec.decode(said))


# what a step says ------------------------------------------------------------------------------------------------
class Saying(gym.Env):
    """A step gives what it was made with."""

    action_space, observation_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def __init__(self, *given):
        self.given = given

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, *self.given


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.complex_numbers())
odd = st.one_of(scalars, st.lists(scalars, max_size=2), st.floats().map(np.float32), st.booleans().map(np.array))
keys = st.one_of(st.sampled_from(["won", "success", "return", "reward", "terminated"]), st.text(max_size=3), st.none())


@settings(max_examples=300, deadline=None)
@given(
    odd, odd, st.one_of(st.dictionaries(keys, odd, max_size=4), odd), st.sampled_from(["won", "return", "terminated"])
)
@example(1.0, True, {"won": float("nan")}, "won")
@example(10**400, False, {}, "return")
def test_whatever_a_step_says_is_judged_or_refused(reward, terminated, info, of):
    env = Judged(Saying(reward, terminated, False, info), SuccessRule(of, at_least=1), rounds=True)
    env.reset(seed=0)
    given, error = outcome(env.step, 0)
    if error:
        assert "\n" not in str(error)
        assert "; valid: " in str(error)
        return
    *_, told = given
    assert type(told["success"]) is bool
    assert told["success"] is told["is_success"]
    if told["success"]:
        returned = rounded(float(reward)) if of == "return" else terminated if of == "terminated" else info["won"]
        assert float(returned) >= 1


# question rows ---------------------------------------------------------------------------------------------------
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
likely = st.one_of(json_values, st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=4), st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(st.one_of(json_values, st.dictionaries(st.sampled_from([*ROW, "solution", "id", "x"]), likely, min_size=1)))
@example({"choices": ["a", "a"]})
@example({"choices": ["a", " a"]})
@example({"question": "  "})
@example({"question": "\u202e\x00"})
@example({"image": ""})
@example({"answer": 1e300})
def test_any_row_is_read_or_named(row):
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), row=row)
        for answers in ("choices", "free"):
            _, error = outcome(load.__wrapped__, path, answers)
            if error:
                assert "'1'" in str(error) or "no questions with a picture in part 'train'" in str(error)
                assert "\n" not in str(error)
                assert len(str(error)) < 3000


# pictures --------------------------------------------------------------------------------------------------------
@st.composite
def pictures(draw):
    """A picture, and the bytes of its file in a format without loss."""
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]))
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind, top = (np.uint16, 65536) if mode == "I;16" else (np.uint8, 256)
    depth = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    values = rng.integers(0, top, (*size[::-1], *([depth] if depth else [])), kind)
    image = Image.fromarray(values)
    image = image.convert(mode) if mode in ("1", "P") else image
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 9))
    stream = io.BytesIO()
    image.save(stream, draw(st.sampled_from(["png", "tiff"])), exif=exif)
    return image, exif, stream.getvalue()


@settings(max_examples=100, deadline=None)
@given(pictures())
def test_any_picture_is_decoded_as_it_was(made):
    image, exif, content = made
    image.getexif()[0x0112] = exif[0x0112]
    turned = ImageOps.exif_transpose(image)
    if image.mode == "I;16":
        expected = np.rint(np.asarray(turned) / 257)[..., None].repeat(3, axis=2)
    else:
        opaque = turned.convert("RGBA")
        expected = np.asarray(Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque))[..., :3]
    np.testing.assert_allclose(np.asarray(decoded(content)), expected, atol=1)


@settings(max_examples=100, deadline=None)
@given(pictures(), st.data())
def test_a_picture_that_is_cut_or_overwritten_is_read_or_refused(made, data):
    content = bytearray(made[2])
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    image, error = outcome(decoded, bytes(content[: data.draw(st.integers(1, len(content)))]))
    if error:
        assert refused_in_one_line(error)
    else:
        assert image.mode == "RGB"
