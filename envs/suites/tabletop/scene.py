"""The scene: a table, a gripper that moves over it, three object slots and two pads, in one MuJoCo model.

There are two grippers, a closed one that pushes and one of two fingers that grasps. One model serves every reset: a
slot holds one geom of each shape and a reset shows one of them in the colour it drew, because compiling a model (and
its GL context) anew for each episode costs far more than a step.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from envs.errors import unknown
from envs.rendering import mujoco
from envs.suites.tabletop.appearances import APPEARANCES, Appearance

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

# The fingers close along the y axis, so that a prism is held between its flat side and the edge opposite.
OPEN = 0.072  # [m] from the middle to the inside of an open finger
FINGER_HALF_SIZE = (0.020, 0.006, 0.020)  # [m]
GRIP_FORCE = 6.0  # [N] of each finger at most; an object weighs 1 N
TOP = 0.09  # [m] the gripper's height at most; at 0 its fingers are just over the table


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


_SLIDES = f"""
      <joint name="gripper_x" type="slide" axis="1 0 0" range="-{REACH} {REACH}" limited="true"/>
      <joint name="gripper_y" type="slide" axis="0 1 0" range="-{REACH} {REACH}" limited="true"/>
      <joint name="gripper_z" type="slide" axis="0 0 1" range="-0.02 0.2" limited="true"/>"""


def _actuators(kp: float) -> str:
    """Of the slides; kp [N/m]."""
    names = ("gripper_x", "gripper_y", "gripper_z")
    return "".join(f'<position name="{name}" joint="{name}" kp="{kp:g}" dampratio="1"/>' for name in names)


def _finger_xml(name: str, side: int) -> str:
    """On the far side (1) or the near one (-1), its joint [m] the opening."""
    half = FINGER_HALF_SIZE
    return f"""<body name="{name}" gravcomp="1">
        <joint name="{name}" type="slide" axis="0 {side} 0" range="0 {OPEN + 0.002}" limited="true"/>
        <geom name="{name}" type="box" pos="0 {side * half[1]} 0" size="{half[0]} {half[1]} {half[2]}"
          rgba="0.1 0.1 0.1 1" mass="0.05" friction="2 0.05 0.001" condim="6" priority="1" solref="0.01 1"/></body>"""


@dataclass(frozen=True)
class Gripper:
    """The parts of the model, in MJCF, that make one kind of gripper."""

    body: str
    actuators: str
    options: str = ""  # attributes of MuJoCo's <option>
    others: str = ""  # further sections


PUSHER = Gripper(
    f"""<body name="gripper" pos="0 0 0.025" gravcomp="1">{_SLIDES}
      <geom name="tip" type="box" size="{TIP_HALF_SIZE} {TIP_HALF_SIZE} 0.02" rgba="0.1 0.1 0.1 1" mass="0.2"/>
      <geom name="palm" type="box" pos="0 0 0.045" size="0.018 0.018 0.012" rgba="0.95 0.95 0.95 1" mass="0.1"/>
    </body>""",
    _actuators(400),
)
GRASPER = Gripper(
    f"""<body name="gripper" pos="0 0 0.024" gravcomp="1">{_SLIDES}
      <geom name="beam" type="box" pos="0 0 0.033" size="0.004 0.084 0.005" rgba="0.1 0.1 0.1 1" mass="0.1"/>
      <geom name="palm" type="box" pos="0 0 0.045" size="0.009 0.009 0.012" rgba="0.95 0.95 0.95 1" mass="0.1"/>
      {_finger_xml("far_finger", 1)}
      {_finger_xml("near_finger", -1)}
    </body>""",
    _actuators(2000)
    + "".join(
        f'<position name="{name}" joint="{name}" kp="400" dampratio="1" forcerange="-{GRIP_FORCE} {GRIP_FORCE}"/>'
        for name in ("far_finger", "near_finger")
    ),
    'impratio="10"',  # without, what is held creeps
    '<equality><joint joint1="far_finger" joint2="near_finger"/></equality>',
)


def scene_xml(gripper: Gripper, appearance: Appearance) -> str:
    """The MJCF text of the scene."""
    return f"""
<mujoco model="tabletop">
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" {gripper.options}/>
  <visual><headlight {appearance.headlight} specular="0 0 0"/>
    <quality numslices="16" numstacks="8"/></visual>
  <asset><mesh name="triangle" vertex="{_triangle_vertices()}"/>{appearance.assets}</asset>
  <default>
    <default class="object"><geom mass="0" friction="0.5 0.01 0.0001" condim="4" group="{HIDDEN_GROUP}"/></default>
  </default>
  <worldbody>
    <geom name="table" type="plane" size="0 0 1" {appearance.table} friction="0.5 0.01 0.0001"/>
    <camera name="top" {appearance.camera}/>
    <camera name="side" pos="0 -0.62 0.48" xyaxes="1 0 0 0 0.60 0.80" fovy="45"/>
    {appearance.lights}
    {gripper.body}
    {_pads_xml()}
    {_objects_xml()}
  </worldbody>
  <actuator>{gripper.actuators}</actuator>
  {gripper.others}
</mujoco>"""


class Scene:
    """The compiled model and its data, with places read and set by name."""

    kind: ClassVar[Gripper] = PUSHER

    def __init__(self, appearance: str = "practice") -> None:
        """Raises UserError for an unknown appearance."""
        if appearance not in APPEARANCES:
            raise unknown("appearance", appearance, APPEARANCES)
        self.model = mujoco.MjModel.from_xml_string(scene_xml(self.kind, APPEARANCES[appearance]))
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
        """Drive the first (n,) actuators [m], the gripper's, along a straight line over `substeps` physics steps."""
        ctrl = self.data.ctrl[: len(target)]
        start = ctrl.copy()
        for k in range(1, substeps + 1):
            ctrl[:] = start + (target - start) * min(1.0, k / (0.7 * substeps))
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


class GraspScene(Scene):
    """The scene with a gripper of two fingers."""

    kind = GRASPER

    def arrange(
        self, gripper: np.ndarray, objects: dict[str, np.ndarray], pads: dict[str, np.ndarray], lift: float
    ) -> None:
        super().arrange(gripper, objects, pads, lift)
        self.data.qpos[3:5] = self.data.ctrl[3:5] = OPEN
        mujoco.mj_forward(self.model, self.data)

    @property
    def raised(self) -> float:
        """[m] the gripper's height over its lowest."""
        return float(self.data.qpos[2])

    @property
    def opening(self) -> float:
        """[m] from the middle to the inside of a finger."""
        return float(self.data.qpos[3:5].mean())

    @property
    def is_closing(self) -> bool:
        """Whether the fingers' action is to close."""
        return bool(self.data.ctrl[3] < OPEN / 2)

    def height(self, name: str) -> float:
        """[m] of an object over the table, upright."""
        return float(self.data.body(f"object{self.objects.index(name)}").xpos[2]) - OBJECT_HEIGHT / 2

    def touching(self, name: str) -> int:
        """How many fingers touched an object in the last physics step."""
        slot = self.model.body(f"object{self.objects.index(name)}").id
        fingers = {self.model.body(f"{side}_finger").id for side in ("far", "near")}
        pairs = [set(self.model.geom_bodyid[pair]) for pair in self.data.contact.geom]
        return len({finger for pair in pairs if slot in pair for finger in pair & fingers})
