"""What is seen, done and rewarded. Needs numpy, gymnasium, mujoco and opencv; never torch."""

import os
import sys

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # mujoco reads it once, when it is first imported; glfw needs a screen
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws pictures here, and opens no windows
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
