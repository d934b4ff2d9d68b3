"""Held-out appearances: other frames of the same episode."""

import numpy as np
import pytest

from envs.errors import UserError
from envs.registry import TASKS, tagged, task
from envs.suites.tabletop.appearances import APPEARANCES

HELDOUT = [name for name in APPEARANCES if name != "practice"]


@pytest.mark.parametrize("appearance", HELDOUT)
def test_every_task_has_the_appearance_and_its_tag(appearance):
    assert tagged(f"look-{appearance}") == [f"{name}-{appearance}" for name in ("reach", "push", "lift", "place")]
    assert {TASKS[name].split for name in tagged(f"look-{appearance}")} == {"heldout"}
    assert set(tagged(f"look-{appearance}")) < set(tagged("tabletop"))


@pytest.mark.parametrize("name", ["reach", "place"])
@pytest.mark.parametrize("appearance", HELDOUT)
def test_an_appearance_changes_the_picture_and_nothing_else(name, appearance):
    plain, other = task(name).make(), task(f"{name}-{appearance}").make()
    for seed in range(3):
        start, again = plain.reset(seed=seed)[0], other.reset(seed=seed)[0]
        np.testing.assert_array_equal(start, again)
        for _ in range(5):
            assert task(name).teacher.expert(plain)[0] == task(f"{name}-{appearance}").teacher.expert(other)[0]
            action = task(name).teacher.expert(plain)[1]
            for a, b in zip(plain.step(action), other.step(action), strict=True):
                np.testing.assert_equal(a, b)
            assert plain.fingerprint() == other.fingerprint()
            frame, changed = plain.render().astype(int), other.render().astype(int)
            assert np.abs(frame - changed).mean() > 2
            assert changed.std() > 5
    plain.close(), other.close()


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_all_of_the_table_is_in_the_picture(appearance):
    """Each corner of the area in which objects may lie projects into the frame."""
    env = TASKS["reach"].make(appearance=appearance)
    env.reset(seed=0)
    data = env.unwrapped.data
    camera = env.unwrapped.model.camera("top").id
    turned, tangent = data.cam_xmat[camera].reshape(3, 3), np.tan(np.deg2rad(20))
    for corner in np.array([(x, y, 0.04) for x in (-0.2, 0.2) for y in (-0.2, 0.2)]):
        right, up, back = turned.T @ (corner - data.cam_xpos[camera])
        assert max(abs(right), abs(up)) < -back * tangent
    env.close()


def test_an_unknown_appearance_is_refused():
    with pytest.raises(UserError, match=r"unknown appearance 'night'.*camera, light, practice, texture"):
        TASKS["lift"].make(appearance="night")
