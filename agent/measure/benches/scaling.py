"""Items per second through the engine, at several numbers of workers: Ray's actors beside the processes of one machine.
And at several numbers of the policy's replicas, which the workers ask.

The policy sleeps, so that processors limit neither side. Without a sleep, the engine itself is the limit.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import Any

from agent.collect.cluster.connection import connected
from agent.collect.cluster.replicas import Answering
from agent.collect.processes.pool import Pool
from agent.collect.processes.serving import Call
from agent.config import Engine, Limits
from agent.measure.benches import items
from agent.measure.benches.items import AskedItems, Items, sleep_and_decide
from agent.measure.benches.sides import bench_row, medians

WORKERS = (1, 2, 4, 8)
REPLICAS, ASKING = (1, 2, 4), 4  # replicas of the policy, and workers that ask them
SLEEP_S = 0.02  # of a decision that is costly
COSTLY, FREE = 200, 4000  # items of each worker with a sleep, and of all without one


def scaling(workers: Sequence[int] = WORKERS, repetitions: int = 3, costly: int = COSTLY, free: int = FREE) -> list:
    """Rows for each number of workers: Ray against local with a sleep and without, Ray against one actor of its own.
    Rows for each number of replicas, against one.

    costly: items of each worker with a sleep. free: items of all without one.
    """
    engine, rows, one = Engine("ray"), list[dict[str, Any]](), 0.0
    with connected(engine, max(*workers, 2 * ASKING)):
        from agent.collect.cluster.pool import RayPool  # ray is an extra

        for n in workers:
            ray = RayPool(n, Limits(), items.__name__, engine)
            with closing(Pool(n, Limits(), items.__name__)) as local, closing(ray) as far:
                for pool in (local, far):
                    pool.run(Items(n, n, 0.1))  # all workers have started
                    pool.run(Items(free // 4, n, 0.0))
                slept = _rates(local, far, costly * n, n, SLEEP_S, repetitions)
                flat = _rates(local, far, free, n, 0.0, repetitions)
            one = one or slept["ray"] / n
            actors = "1 actor" if n == 1 else f"{n} actors"
            said = f"{actors}, a policy that sleeps {1e3 * SLEEP_S:g} ms"
            rows.append(bench_row("engine", "items/s", slept["ray"], slept["local"], f"{said} | processes"))
            if n > 1:
                rows.append(bench_row("engine", "items/s", slept["ray"], one, f"{said} | 1 actor"))
            rows.append(bench_row("engine", "items/s", flat["ray"], flat["local"], f"{actors}, no sleep | processes"))
        return rows + _replicas(engine, costly, repetitions)


def _replicas(engine: Engine, costly: int, repetitions: int) -> list[dict[str, Any]]:
    """A batch is one question."""
    from agent.collect.cluster.pool import RayPool  # ray is an extra

    half = replace(engine, cpus=0.5)
    with ExitStack() as stack:
        asking = stack.enter_context(closing(RayPool(ASKING, Limits(), items.__name__, engine)))
        pools = {m: RayPool(m, Limits(), items.__name__, half, "policy replica") for m in REPLICAS}
        for pool in pools.values():
            stack.enter_context(closing(pool))

        def rate(replicas: int, n: int, sleep_s: float) -> float:
            answering = Answering("items", lambda _, seeds: Call(sleep_and_decide, (len(seeds), sleep_s)), group=1)
            work, started = AskedItems(n, ASKING, answering), time.perf_counter()
            asking.run(work, (pools[replicas], answering))
            assert len(work.seeds) == n
            return n / (time.perf_counter() - started)

        for m in REPLICAS:
            rate(m, 4 * ASKING, 0.1)  # all actors have started
        rates = medians({str(m): partial(rate, m, costly * m, SLEEP_S) for m in REPLICAS}, repetitions)
    said = f"that sleep {1e3 * SLEEP_S:g} ms a question, {ASKING} workers"
    one = rates[str(REPLICAS[0])]
    return [bench_row("replicas", "items/s", rates[str(m)], one, f"{m} {said} | 1 replica") for m in REPLICAS[1:]]


def _rates(local: Any, ray: Any, n: int, workers: int, sleep_s: float, repetitions: int) -> dict[str, float]:
    """The median of items per second of both pools, by turns."""

    def rate(pool: Any) -> float:
        work, started = Items(n, workers, sleep_s), time.perf_counter()
        pool.run(work)
        assert len(work.seeds) == n
        return n / (time.perf_counter() - started)

    return medians({"local": lambda: rate(local), "ray": lambda: rate(ray)}, repetitions)
