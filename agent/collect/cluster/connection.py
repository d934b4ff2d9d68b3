"""The connection of the run's process to Ray. Ray is imported here and in `pool`, when it is needed."""

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from agent.config import Engine
from envs.errors import UserError, first_line

ANSWER_S, HEALTH_S = 5.0, 30.0  # for the head of a cluster: to connect, and to answer
STORE_BYTES = 256 << 20  # of the object store of a Ray that starts with the run: messages pass through, little stays
LEAST_STORE_BYTES = 80 << 20  # Ray takes 75 MB at least
SHM = Path("/dev/shm")


def check_engine(engine: Engine) -> None:
    """Raises UserError where Ray is asked for and is not installed, or its address is of no Ray of its version, and as
    `check_policies` does."""
    check_policies(engine)
    _check_installed(engine)
    if engine.kind != "ray" or engine.address in ("local", "auto"):
        return
    host, _, port = engine.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
        _check_health(engine)
    except (OSError, OverflowError) as error:
        raise _unreachable(engine, first_line(error)) from error


def check_policies(engine: Engine) -> None:
    """Raises UserError for replicas of the policy without Ray, or on more GPUs than this machine has, where no other
    machine can be added."""
    policies, gpus = engine.policies, engine.gpus
    if policies and engine.kind != "ray":
        raise UserError(
            f"engine.policies = {policies}, and engine.kind = {engine.kind!r} has none; valid: 0, or kind: ray"
        )
    if gpus and not policies:
        raise UserError(f"engine.gpus = {gpus:g} of each replica, and engine.policies = 0; valid: 0, or policies")
    if gpus and engine.address == "local" and policies > (room := _gpus() * int(1 / gpus)):
        raise UserError(
            f"engine.policies = {policies} of engine.gpus = {gpus:g} on a machine of {_gpus()} GPUs; valid: at most "
            f"{room}, engine.gpus: 0, or the address of a cluster"
        )


def _gpus() -> int:
    """Of this machine."""
    import torch  # slow to import, and only needed here

    return torch.cuda.device_count()


def _check_installed(engine: Engine) -> None:
    if engine.kind == "ray" and find_spec("ray") is None:
        raise UserError("engine.kind = 'ray' needs ray; valid once it is installed: pip install 'handeye[ray]'")


def _check_health(engine: Engine) -> None:
    """Raises UserError. By a process of its own: Ray's client tries for minutes what is no Ray."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", engine.address]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=HEALTH_S, check=True)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(engine, f"what listens there gave no answer in {HEALTH_S:g} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"the check ended with status {error.returncode}"]
        raise _unreachable(engine, said[-1]) from error


@contextmanager
def connected(engine: Engine, workers: int) -> Iterator[None]:
    """In the block, this process is connected to Ray, if that is the engine. What was connected before stays so.

    For `local`, a Ray with room for the workers and the replicas of the policy starts, and ends after the block. Ray
    sends nothing home, and no dashboard starts. Raises UserError where Ray is not installed, and where the address is
    of no cluster that this machine is a part of.
    """
    _check_installed(engine)
    if engine.kind != "ray":
        yield
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when a cluster starts
    import ray

    if ray.is_initialized():
        yield
        return
    _connect(engine, workers)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(engine: Engine, workers: int) -> None:
    import ray

    how = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if engine.address == "local":
        cpus = math.ceil((workers + engine.policies) * engine.cpus)
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: behind all else on a machine that is busy
        how |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _store_bytes()}
        how |= {"num_gpus": _gpus()} if engine.gpus else {}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(engine.address, **how)
    except Exception as error:
        # a node of Ray that starts too late is a bare Exception
        if type(error) is Exception or isinstance(error, (ConnectionError, RuntimeError, ValueError, TimeoutError)):
            raise _unreachable(engine, first_line(error)) from error
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray puts its own there


def _store_bytes() -> int:
    """Raises UserError where /dev/shm is too small: a store beyond it kills processes with SIGBUS."""
    if not SHM.is_dir():
        return STORE_BYTES
    free = shutil.disk_usage(SHM).free
    if free < LEAST_STORE_BYTES:
        raise UserError(
            f"Ray needs {LEAST_STORE_BYTES / 1e6:.0f} MB of {str(SHM)!r}, {free / 1e6:.0f} MB are free; valid: more "
            "(in a container, docker run --shm-size=1g), or engine.kind: local"
        )
    return min(STORE_BYTES, int(0.9 * free))


def _unreachable(engine: Engine, why: str) -> UserError:
    return UserError(
        f"engine.address = {engine.address!r}: no Ray cluster answers: {why}; valid: local, auto on a machine where "
        "`ray start` has run, HOST:PORT of the head of its cluster"
    )
