"""The scene: a table, a gripper that moves over it, three object slots and two pads, in one MuJoCo model.

One model serves every task and every reset: a slot holds one geom of each shape and a reset shows one of them in
the colour it drew, because compiling a model (and its GL context) anew for each episode costs far more than a step.
"""

import itertools

import numpy as np

from envs.rendering import mujoco
from envs.tabletop.words import HALF_EXTENT

COLOURS = {
    "red": (0.85, 0.10, 0.10),
    "green": (0.10, 0.65, 0.15),
    "blue": (0.10, 0.25, 0.90),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.60, 0.15, 0.75),
}
SHAPES = ("cube", "cylinder", "triangle")
# The colour of a disc on top: at 64 px outlines differ by 2 px, which a small model does not learn to see.
MARKS = {"cylinder": (0.0, 0.9, 0.95), "triangle": (1.0, 1.0, 1.0)}
OBJECTS = tuple(f"{colour} {shape}" for colour, shape in itertools.product(COLOURS, SHAPES))
PADS = tuple(f"{colour} pad" for colour in COLOURS)
OBJECT_SLOTS = 3
PAD_SLOTS = 2

OBJECT_RADIUS = 0.030  # [m] half an edge of the cube, the cylinder's radius
OBJECT_HEIGHT = 0.040  # [m]
MARK_RADIUS = 0.018  # [m] of the disc on top of an object
PAD_HALF_SIZE = 0.045  # [m]
TIP_HALF_SIZE = 0.018  # [m] the closed fingers, square from above
REACH = 0.24  # [m] the gripper's slides end here
PARKED = 5.0  # [m] where unused slots wait, out of sight
TIMESTEP = 0.005  # [s]
HIDDEN_GROUP, SHOWN_GROUP = 4, 1  # MuJoCo renders groups 0 to 2


def _objects_xml() -> str:
    half = OBJECT_HEIGHT / 2
    inertia = "4e-5 4e-5 6e-5"  # [kg m^2] of a 0.1 kg block, the same for each shape
    geoms = {
        "cube": f'type="box" size="{OBJECT_RADIUS} {OBJECT_RADIUS} {half}"',
        "cylinder": f'type="cylinder" size="{OBJECT_RADIUS * 1.1} {half}"',
        "triangle": 'type="mesh" mesh="triangle"',
    }
    bodies = []
    for slot in range(OBJECT_SLOTS):
        shapes = "".join(f'<geom name="object{slot}_{shape}" {geoms[shape]} class="object"/>' for shape in SHAPES)
        shapes += "".join(
            f'<geom name="mark{slot}_{shape}" type="cylinder" pos="0 0 {half}" size="{MARK_RADIUS} 0.001" '
            f'rgba="{r} {g} {b} 1" class="object" contype="0" conaffinity="0"/>'
            for shape, (r, g, b) in MARKS.items()
        )
        bodies.append(
            f'<body name="object{slot}" pos="{PARKED + slot} 0 {half}"><freejoint name="object{slot}"/>'
            f'<inertial pos="0 0 0" mass="0.1" diaginertia="{inertia}"/>{shapes}</body>'
        )
    return "".join(bodies)


def _pads_xml() -> str:
    return "".join(
        f'<body name="pad{slot}" mocap="true" pos="{PARKED + slot} 1 0.001"><geom name="pad{slot}" type="box" '
        f'size="{PAD_HALF_SIZE} {PAD_HALF_SIZE} 0.001" contype="0" conaffinity="0"/></body>'
        for slot in range(PAD_SLOTS)
    )


def _triangle_vertices() -> str:
    """An equilateral prism about its centroid."""
    angles = np.pi / 2 + np.arange(3) * 2 * np.pi / 3
    ring = 1.45 * OBJECT_RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    corners = [(x, y, z) for z in (-OBJECT_HEIGHT / 2, OBJECT_HEIGHT / 2) for x, y in ring]
    return " ".join(f"{value:.5f}" for corner in corners for value in corner)


def scene_xml() -> str:
    """The MJCF text of the scene."""
    camera_height = HALF_EXTENT * 1.08 / np.tan(np.deg2rad(20))
    return f"""
<mujoco model="tabletop">
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic"/>
  <visual><headlight ambient="0.45 0.45 0.45" diffuse="0.45 0.45 0.45" specular="0 0 0"/>
    <quality numslices="16" numstacks="8"/></visual>
  <asset><mesh name="triangle" vertex="{_triangle_vertices()}"/></asset>
  <default>
    <default class="object"><geom mass="0" friction="0.5 0.01 0.0001" condim="4" group="{HIDDEN_GROUP}"/></default>
  </default>
  <worldbody>
    <geom name="table" type="plane" size="0 0 1" rgba="0.55 0.5 0.45 1" friction="0.5 0.01 0.0001"/>
    <camera name="top" pos="0 0 {camera_height:.4f}" fovy="40"/>
    <camera name="side" pos="0 -0.62 0.48" xyaxes="1 0 0 0 0.60 0.80" fovy="45"/>
    <body name="gripper" pos="0 0 0.025" gravcomp="1">
      <joint name="gripper_x" type="slide" axis="1 0 0" range="-{REACH} {REACH}" limited="true"/>
      <joint name="gripper_y" type="slide" axis="0 1 0" range="-{REACH} {REACH}" limited="true"/>
      <joint name="gripper_z" type="slide" axis="0 0 1" range="-0.02 0.2" limited="true"/>
      <geom name="tip" type="box" size="{TIP_HALF_SIZE} {TIP_HALF_SIZE} 0.02" rgba="0.1 0.1 0.1 1" mass="0.2"/>
      <geom name="palm" type="box" pos="0 0 0.045" size="0.018 0.018 0.012" rgba="0.95 0.95 0.95 1" mass="0.1"/>
    </body>
    {_pads_xml()}
    {_objects_xml()}
  </worldbody>
  <actuator>
    <position name="gripper_x" joint="gripper_x" kp="400" dampratio="1"/>
    <position name="gripper_y" joint="gripper_y" kp="400" dampratio="1"/>
    <position name="gripper_z" joint="gripper_z" kp="400" dampratio="1"/>
  </actuator>
</mujoco>"""


class Scene:
    """The compiled model and its data, with places read and set by name."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(scene_xml())
        self.data = mujoco.MjData(self.model)
        self.objects: list[str] = []
        self.pads: list[str] = []

    def arrange(
        self, gripper: np.ndarray, objects: dict[str, np.ndarray], pads: dict[str, np.ndarray], lift: float
    ) -> None:
        """A fresh scene at rest: the gripper at (2,) [m] and `lift` [m] above the table, things at their (2,) [m]."""
        model, data = self.model, self.data
        mujoco.mj_resetData(model, data)
        self.objects, self.pads = list(objects), list(pads)
        data.qpos[:3] = data.ctrl[:3] = (*gripper, lift)
        for slot in range(OBJECT_SLOTS):
            name = self.objects[slot] if slot < len(self.objects) else None
            self._dress(slot, name)
            if name:
                data.joint(f"object{slot}").qpos[:2] = objects[name]
        for slot in range(PAD_SLOTS):
            body = model.body(f"pad{slot}")
            if slot < len(self.pads):
                name = self.pads[slot]
                data.mocap_pos[body.mocapid[0], :2] = pads[name]
                # paler than an object of the same colour
                model.geom(f"pad{slot}").rgba[:3] = 0.5 * np.array(COLOURS[name.split()[0]]) + 0.5
        mujoco.mj_forward(model, data)

    def _dress(self, slot: int, name: str | None) -> None:
        """Show one shape of the slot in its colour, and let only that one collide."""
        colour, shape = name.split() if name else (None, None)
        for candidate in SHAPES:
            geom = self.model.geom(f"object{slot}_{candidate}")
            shown = candidate == shape or (name is None and candidate == SHAPES[0])
            geom.contype[0] = geom.conaffinity[0] = int(shown)
            geom.group[0] = SHOWN_GROUP if shown else HIDDEN_GROUP
            if colour:
                geom.rgba[:3] = COLOURS[colour]
            if candidate in MARKS:
                self.model.geom(f"mark{slot}_{candidate}").group[0] = geom.group[0]

    def move(self, target: np.ndarray, substeps: int) -> None:
        """Drive the gripper to (2,) [m] along a straight line over `substeps` physics steps."""
        start = self.data.ctrl[:2].copy()
        for k in range(1, substeps + 1):
            self.data.ctrl[:2] = start + (target - start) * min(1.0, k / (0.7 * substeps))
            mujoco.mj_step(self.model, self.data)

    @property
    def gripper(self) -> np.ndarray:
        """(2,) [m]"""
        return self.data.qpos[:2].copy()

    def places(self) -> dict[str, np.ndarray]:
        """Name -> (2,) [m] of everything that lies on the table."""
        objects = {name: self.data.body(f"object{slot}").xpos[:2].copy() for slot, name in enumerate(self.objects)}
        pads = {name: self.data.body(f"pad{slot}").xpos[:2].copy() for slot, name in enumerate(self.pads)}
        return objects | pads
