"""Strips of moments and GIFs: cropped to what there is to see, whatever the environment, and as long as they say."""

import numpy as np
import pytest
from PIL import Image

from agent.collect.rollout import rollout
from agent.record import picture
from agent.record.video import SIZE, film, shots
from envs.registry import TASKS
from policies.action_codec import codec_for
from policies.baselines import ExpertPolicy, RandomPolicy

TABLE = (100, 90, 80)
REACH = TASKS["reach"]


@pytest.fixture(scope="module")
def episodes():
    """A success of the expert and a failure of random moves, on reach, from one start."""
    (expert,) = rollout(REACH, ExpertPolicy(REACH, codec_for(REACH)), [(0, 0)])
    randoms = rollout(REACH, RandomPolicy(codec_for(REACH).action.space), [(0, k) for k in range(1, 6)])
    assert expert.success
    return next(episode for episode in randoms if not episode.success), expert


def views(*places, side=100):
    """A square of 10 px on an even ground, at each of the places in turn, and another one that stays."""
    frames = np.full((len(places), side, side, 3), TABLE, np.uint8)
    frames[:, 30:40, 50:60] = (200, 0, 0)
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[row : row + 10, column : column + 10] = (255, 255, 255)
    return frames


def test_what_moves_and_what_lies_there_is_kept():
    rows, columns = picture.content([views((40, 20), (60, 20)), views((40, 40))])
    assert (rows, columns) == (slice(26, 74), slice(16, 64))


def test_a_picture_that_is_full_is_not_cropped():
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    rows, columns = picture.content([noise])
    assert noise[:, rows, columns].shape == noise.shape


def test_an_even_picture_is_not_cropped():
    even = np.full((2, 64, 64, 3), 7, np.uint8)
    rows, columns = picture.content([even])
    assert even[:, rows, columns].shape == even.shape


def test_a_strip_has_a_row_for_each_film_with_its_ends_framed(episodes):
    films = [shots(episode, 96, picture.MOMENTS) for episode in episodes]
    assert [film.steps[0] for film in films] == [0, 0]
    assert [film.steps[-1] for film in films] == [len(episode.steps) for episode in episodes]
    pixels = np.asarray(picture.strip(films, ["random", "expert"]))
    for colour in (picture.BEGIN, picture.SUCCESS, picture.FAILURE):
        assert (pixels == colour).all(axis=-1).sum() > 100
    assert pixels.shape[1] <= picture.WIDEST


def test_shots_are_what_a_film_shows(episodes):
    seen, whole = shots(episodes[0], at_most=3), film(episodes[0])
    assert seen.steps[0] == 0
    assert len(seen.views) == 3
    for view, step in zip(seen.views, seen.steps, strict=True):
        np.testing.assert_array_equal(view, whole[step, :SIZE, :SIZE])


def test_a_gif_is_as_long_as_the_longer_film_and_below_15_s(episodes, tmp_path):
    films = [shots(episode, 96, picture.FRAMES) for episode in episodes]
    picture.write(tmp_path / "x.gif", films, ["random", "expert"])
    with Image.open(tmp_path / "x.gif") as gif:
        shown = []
        for i in range(gif.n_frames):
            gif.seek(i)
            shown.append(gif.info["duration"])
    assert len(shown) == max(len(film.views) for film in films)
    assert sum(shown) <= 1000 * picture.SECONDS
    assert shown[-1] == 1000 * picture.LAST_S


@pytest.mark.parametrize("name", ["p" * 500, "a/b"])
def test_a_name_fits_into_its_picture(name):
    assert picture._font().getlength(picture._fitting(name, 300)) <= 300


def test_watch_names_the_formats(here):
    result = here("watch", "reach", "film.bmp", "--policy", "zero")
    assert result.returncode == 2
    assert "film.bmp" in result.stderr
    assert ".gif" in result.stderr


def test_watch_writes_a_gif(typed, tmp_path):
    assert typed("watch", "cartpole", tmp_path / "film.gif", "--policy", "zero").returncode == 0
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames > 1
