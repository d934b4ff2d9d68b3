"""A command's work in a fork of its process, where an environment that nobody here has tried runs in that process.

One that ends it, by a signal or by `os._exit`, is one line.
"""

import atexit
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

from agent.collect.processes.worker import why
from envs.errors import SimulatorError, UserError

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def guarded(what: str, work: Callable[[], object]) -> None:
    """Do the work in a fork of this process, which has no thread and no GL context yet; on Linux, elsewhere here.

    what: is done, for the message. Exits as the work does, where that is not with status 0. Raises UserError where the
    fork does not come to its end.
    """
    if sys.platform != "linux":
        work()
        return
    sys.stdout.flush(), sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _work(work, writer)
    os.close(writer)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise
    with os.fdopen(reader, "rb") as end:
        came_to_its_end = end.read(1)
    if not came_to_its_end:
        raise UserError(f"the process {why(status)}, as {what}; valid: an environment that ends no process")
    if status:
        sys.exit(status)


def _work(work: Callable[[], object], writer: int) -> None:
    """In the fork: do the work, say that it came to its end, and exit."""
    atexit._clear()  # what the parent is to do at its end
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    status = 1
    try:
        work()
        status = 0
    except (UserError, SimulatorError) as error:
        print(f"handeye: error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt as stopped:
        status = 128 + (stopped.args[0] if stopped.args else signal.SIGINT)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush(), sys.stderr.flush()
        os.write(writer, b"1")
        os._exit(status)
