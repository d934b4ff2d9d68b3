"""Rendering without a screen, and the order of imports that keeps it from crashing. Each in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from textwrap import indent

import numpy as np
import pytest

from envs import rendering
from envs.cameras import camera_of
from envs.registry import TASKS
from envs.rendering import IDLE, UNLIT, Renderer, coarsened, mujoco, renderer_for

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def run(code, **environment):
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


RENDER = """
from envs.registry import TASKS
env = TASKS["push"].make()
env.reset(seed=0)
assert env.render().std() > 5
"""


def caught(code):
    """Code that runs `code` and prints a UserError's message, as the command does."""
    return f"from envs.errors import UserError\ntry:\n{indent(code, '    ')}\nexcept UserError as e:\n    print(e)"


def test_a_broken_backend_is_one_clear_error():
    result = run(caught("import envs.rendering"), MUJOCO_GL="nonsense")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    assert "MUJOCO_GL='nonsense'" in result.stdout
    assert "egl, osmesa or glfw" in result.stdout


def test_a_broken_backend_is_one_clear_error_of_a_task():
    """The registry of tasks imports mujoco too."""
    result = run(caught(RENDER), MUJOCO_GL="nonsense")
    assert result.returncode == 0, result.stderr
    assert "MUJOCO_GL='nonsense'" in result.stdout


def test_environments_never_load_torch():
    result = run(RENDER + "import sys\nprint('torch' in sys.modules)")
    assert result.stdout.strip() == "False", result.stderr


@needs_triton
def test_triton_is_imported_before_a_context_can_be_made():
    result = run("import sys, envs.rendering\nprint('triton' in sys.modules)")
    assert result.stdout.strip() == "True", result.stderr


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("module", ["triton", "torch._dynamo", "xgrammar"])
def test_late_imports_do_not_crash_a_process_that_rendered(module):
    """The wrong order ends the process with a segmentation fault."""
    result = run(RENDER + f"import {module}\nassert env.render().std() > 5\nenv.close()\nprint('alive')")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "alive"


@pytest.mark.parametrize("ending", ["", "env.close()", "import sys; sys.exit(0)"])
def test_a_process_that_renders_exits_quietly(ending):
    result = run(RENDER + ending)
    assert result.returncode == 0
    assert result.stderr == ""


def test_two_renderers_of_different_sizes_share_a_process():
    code = (
        RENDER
        + """
other = TASKS["reach"].sized(32).make()
other.reset(seed=0)
first = env.render()
assert other.render().shape == (32, 32, 3)
assert env.unwrapped.picture("side", 96).shape == (96, 96, 3)
other.close()
assert (env.render() == first).all()
"""
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not TASKS["fetch-reach"].is_installed(), reason="gymnasium-robotics is not installed")
def test_fine_meshes_are_drawn_with_fewer_triangles_and_look_the_same():
    env = TASKS["fetch-reach"].make()
    env.reset(seed=0)
    model, data = env.unwrapped.model, env.unwrapped.data
    ours, bare = Renderer(model, 64, 64), mujoco.Renderer(model, 64, 64)
    camera = camera_of(env.unwrapped, TASKS["fetch-reach"].env.cameras[-1])
    for flag in UNLIT:
        bare.scene.flags[flag] = False
    bare.update_scene(data, camera)
    difference = np.abs(ours.render(model, data, camera).astype(int) - bare.render())
    assert 0 < difference.mean() < 5
    assert coarsened(model, 16).mesh_facenum.sum() < 0.3 * model.mesh_facenum.sum()  # thin walls keep both sides
    ours.close()
    bare.close()
    env.close()


def bowl(n=40, wall=0.002):
    """A half sphere, open above, of radius 10 cm: its outer wall and its inner one, each of n x n vertices."""
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None], np.linspace(np.pi / 2, np.pi, n)
    around, down = np.broadcast_arrays(*angles)
    sphere = np.stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)], axis=-1)
    corner = np.arange(n * n).reshape(n, n)
    a, b, c, d = (x[:, :-1] for x in (corner, np.roll(corner, -1, 0)) for x in (x, np.roll(x, -1, 1)))
    outer = np.concatenate([np.stack(three, -1).reshape(-1, 3) for three in ((a, b, c), (b, d, c))])
    vertices = np.concatenate([0.1 * sphere.reshape(-1, 3), (0.1 - wall) * sphere.reshape(-1, 3)])
    faces = np.concatenate([outer, outer[:, ::-1] + n * n])
    flat = (" ".join(map(str, array.ravel())) for array in (vertices.round(5), faces))
    mesh = '<mesh name="bowl" inertia="shell" vertex="{}" face="{}"/>'.format(*flat)
    text = f'<mujoco><asset>{mesh}</asset><worldbody><geom type="mesh" mesh="bowl"/></worldbody></mujoco>'
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("elevation", [-60, 30])  # into it, and from below
def test_a_thin_wall_is_drawn_from_both_sides(elevation, monkeypatch):
    model, data = bowl()
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation = 0.4, elevation

    def covered():
        renderer = Renderer(model, 32, 32)
        (n,) = renderer.pixels(model, data, camera).values()
        renderer.close()
        return n

    coarse = covered()
    monkeypatch.setattr(rendering, "coarsened", lambda model, n: model)
    assert coarse > 0.9 * covered() > 100


def test_a_mesh_of_few_vertices_is_drawn_as_it_is():
    env = TASKS["reach"].make()
    model = env.unwrapped.model
    np.testing.assert_array_equal(coarsened(model, 4).mesh_face, model.mesh_face)
    env.close()


# models of many geoms, and many models ---------------------------------------------------------------------------
SCENE = """<mujoco><asset><texture name="t" type="2d" builtin="flat" rgb1="{red} .5 .2" width="256" height="256"/>
<material name="m" texture="t"/></asset><worldbody><light pos="0 0 6"/>{clutter}
<geom type="plane" size="2 2 .1" material="m"/><geom size=".5" rgba="1 0 0 1"/></worldbody></mujoco>"""


def scene(boxes=0, red=0.5):
    """A plane and a red ball, the last geom of the model, above `boxes` small boxes below the plane."""
    clutter = "".join(f'<geom type="box" size=".02 .02 .02" pos="{i / 1000:.3f} 0 -1"/>' for i in range(boxes))
    model = mujoco.MjModel.from_xml_string(SCENE.format(red=red, clutter=clutter))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def from_above(model, data):
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation = 4, -90
    return renderer_for(model, 32).render(model, data, camera)


@pytest.mark.parametrize("boxes", [1500, 4000])
def test_all_geoms_of_a_model_are_drawn(boxes):
    """Also after a model of few geoms, with which it shares its renderer. MuJoCo drops what has no room in silence."""
    few, many = scene(), scene(boxes)
    seen, again = from_above(*few), from_above(*many)
    assert renderer_for(few[0], 32) is renderer_for(many[0], 32)
    np.testing.assert_array_equal(seen, again)
    assert seen[16, 16, 0] > 2 * seen[16, 16, 1:].max()
    assert not many[1].warning.number.any()


BALL = '<geom size=".5" pos="0 0 .5" rgba="1 0 0 1"/>'
ODD_MODELS = {
    "nothing but a ball": BALL,
    "an endless plane": BALL + '<geom type="plane" size="0 0 .1"/>',
    "a plane without width": BALL + '<geom type="plane" size="2 0 .1"/>',
    "a height field": BALL + '<geom type="hfield" hfield="h" pos="0 0 -1"/>',
    "a mesh of four corners": BALL + '<geom type="mesh" mesh="m" pos="2 0 0"/>',
    "a geom that is not seen": BALL + '<geom size=".6" pos="0 0 .5" rgba="0 0 1 0"/>',
    "a geom of another group": BALL + '<geom size=".6" pos="0 0 .5" rgba="0 0 1 1" group="4"/>',
    "no light": BALL + '<light active="false"/>',
    "a hundred lights": BALL + '<light pos="0 0 6"/>' * 100,
    "a texture of one pixel": BALL + '<geom type="box" size="1 1 .1" pos="0 0 -1" material="p"/>',
    "a geom of ten metres": BALL + '<geom type="box" size="5 5 .1" pos="0 0 -1" rgba="0 0 1 1"/>',
    "a soft cloth": BALL + '<flexcomp type="grid" count="4 4 1" spacing=".1 .1 .1" name="f" dim="2" pos="2 0 1"/>',
}
ASSETS = """<asset><hfield name="h" nrow="2" ncol="2" size="1 1 1 .1" elevation="0 1 1 0"/>
<mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/>
<texture name="p" type="2d" builtin="flat" rgb1="0 1 0" width="1" height="1"/>
<material name="p" texture="p"/></asset>"""


@pytest.mark.parametrize("kind", ODD_MODELS)
def test_the_ball_is_seen_whatever_else_is_in_the_model(kind):
    model = mujoco.MjModel.from_xml_string(f"<mujoco>{ASSETS}<worldbody>{ODD_MODELS[kind]}</worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    above = mujoco.MjvCamera()
    above.distance, above.elevation = 4.0, -90.0
    renderer = Renderer(model, 16, 16)
    try:
        red, green, blue = renderer.render(model, data, above)[8, 8].astype(int)
    finally:
        renderer.close()
    assert red > 2 * max(green, blue, 5)


def test_renderers_of_models_that_are_gone_are_closed(monkeypatch):
    """A simulator that builds its model anew at each reset, with other textures, has one model at a time."""
    held, made = {}, []
    monkeypatch.setattr(rendering, "_renderers", held)

    class Counted(Renderer):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

        def close(self):
            super().close()
            made.remove(self)

    monkeypatch.setattr(rendering, "Renderer", Counted)
    keep = scene(red=0.0)
    first = from_above(*keep)
    for reset in range(1, 3 * IDLE):
        from_above(*scene(red=reset / 100))
        assert len(made) == len(held) <= IDLE + 2
    np.testing.assert_array_equal(from_above(*keep), first)
    for renderer in held.values():
        renderer.close()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc (Linux)")
def test_a_model_that_is_built_anew_at_each_reset_holds_no_memory():
    """60 resets held 60 GL contexts with a shadow map each: 4.5 GB."""
    code = """
import numpy as np
from test_rendering import scene, from_above

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def resets(n):
    for _ in range(n):
        from_above(*scene(red=rng.random()))

rng = np.random.default_rng(0)
resets(8)
before = resident_mb()
resets(30)
print(resident_mb() - before)
"""
    result = run(code, PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 60


def test_models_whose_planes_differ_share_no_renderer():
    """A GL context holds a list for each plane of its model: with another's, a floor was not drawn at all."""

    def drawn(text):
        model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{text}</worldbody></mujoco>")
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        camera = mujoco.MjvCamera()
        camera.distance, camera.elevation = 3.0, -90.0
        shared, own = renderer_for(model, 64).render(model, data, camera), Renderer(model, 64, 64)
        picture = own.render(model, data, camera)
        own.close()
        np.testing.assert_array_equal(shared, picture)
        return picture, model

    ball = "<geom type='sphere' size='.1'/>"
    (bare, _), (floored, _) = drawn(ball), drawn(f"{ball}<geom type='plane' size='1 1 1' pos='0 0 -.2'/>")
    small, _ = drawn(f"{ball}<geom type='plane' size='.3 .3 1' pos='0 0 -.2'/>")
    assert bare.mean() < small.mean() < floored.mean()
