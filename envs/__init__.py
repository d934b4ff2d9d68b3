"""What is seen, done and rewarded. Needs numpy, gymnasium, mujoco and opencv; never torch."""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # mujoco reads it once, when it is first imported; glfw needs a screen
    # pygame draws pictures and opens no windows; with "dummy", some environments (highway-env) do not draw at all
    os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")
    os.environ.setdefault("PYGLET_HEADLESS", "1")  # pyglet draws without a screen (EGL)
else:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # where SDL may lack "offscreen"
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
