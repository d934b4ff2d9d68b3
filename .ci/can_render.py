"""Exit status 0 where MuJoCo can render without a screen: some EGL device, Mesa's software one included, starts.

Uses the standard library alone, since it runs before anything is installed. It asks EGL as mujoco.egl does: each device
of EGL_EXT_device_enumeration is initialised until one can be, which a missing libEGL or a missing driver denies.
"""

import ctypes
import os
import sys

EGL_PLATFORM_DEVICE_EXT = 0x313F
MAX_DEVICES = 16


def can_render() -> bool:
    """Raises OSError without libEGL, and AttributeError for one that is too old to name its devices."""
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p

    def function(name: bytes, result: type, *arguments: type):
        address = egl.eglGetProcAddress(name)
        if not address:
            raise AttributeError(name)
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    handle, number = ctypes.c_void_p, ctypes.c_int
    query = function(b"eglQueryDevicesEXT", number, number, ctypes.POINTER(handle), ctypes.POINTER(number))
    display_of = function(b"eglGetPlatformDisplayEXT", handle, number, handle, handle)
    egl.eglInitialize.argtypes = handle, handle, handle
    devices, n = (handle * MAX_DEVICES)(), number()
    query(MAX_DEVICES, devices, ctypes.byref(n))
    displays = (display_of(EGL_PLATFORM_DEVICE_EXT, device, None) for device in devices[: n.value])
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


if __name__ == "__main__":
    if sys.platform == "linux" and os.environ.get("MUJOCO_GL", "egl") == "egl":
        try:
            sys.exit(not can_render())
        except (OSError, AttributeError) as error:
            sys.exit(str(error))
