"""Appearances of the scene: the practised one, and others that differ in one respect. Physics is the same in all."""

from dataclasses import dataclass

import numpy as np

from envs.suites.tabletop.words import HALF_EXTENT

CAMERA_HEIGHT = HALF_EXTENT * 1.08 / np.tan(np.deg2rad(20))  # [m] the table fills the picture, with a little margin


@dataclass(frozen=True)
class Appearance:
    """What is seen of the scene beside its things: attributes and elements of MJCF."""

    camera: str = f'pos="0 0 {CAMERA_HEIGHT:.4f}" fovy="40"'  # of the one above
    headlight: str = 'ambient="0.45 0.45 0.45" diffuse="0.45 0.45 0.45"'
    lights: str = ""
    table: str = 'rgba="0.55 0.5 0.45 1"'
    assets: str = ""


APPEARANCES = {
    "practice": Appearance(),
    # From the right, nearer and higher, tilted back to the middle and turned by 2 degrees.
    "camera": Appearance(
        camera=f'pos="0.05 -0.09 {CAMERA_HEIGHT + 0.05:.4f}" xyaxes="1 0.035 -0.062 -0.035 1 0.116" fovy="40"'
    ),
    # A warm lamp at the left, and little other light.
    "light": Appearance(
        headlight='ambient="0.30 0.30 0.38" diffuse="0.15 0.15 0.15"',
        lights='<light pos="-0.9 0.3 0.7" dir="0.9 -0.3 -0.6" diffuse="0.55 0.42 0.25" specular="0 0 0" '
        'directional="true" castshadow="false"/>',
    ),
    # A brown checker, its squares 8 cm wide.
    "texture": Appearance(
        table='material="checker"',
        assets='<texture name="checker" type="2d" builtin="checker" rgb1="0.50 0.36 0.22" rgb2="0.62 0.47 0.31" '
        'width="64" height="64"/><material name="checker" texture="checker" texrepeat="6 6" texuniform="true"/>',
    ),
}
