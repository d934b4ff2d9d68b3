"""The tracker of a job that makes a file or folder which appears when it is whole: in a folder beside that."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.config import Tracking
from agent.organise import durable
from agent.record.console import say
from agent.record.tracking.job import TrackedJob
from agent.record.tracking.sinks import chosen
from agent.record.tracking.tracker import Tracker

SUFFIX = ".metrics"


@contextmanager
def tracked(
    out: Path,
    settings: Tracking,
    config: Mapping[str, Any],
    job: TrackedJob,
    axes: Callable[[], Mapping[str, float]] = dict,
) -> Iterator[Tracker | None]:
    """Yields a tracker that writes into `OUT.metrics`, or into the first of `OUT.metrics-2` ... that is not there.

    None where the settings name no sink.
    """
    if not chosen(settings):
        yield None
        return
    place, number = out.with_name(out.name + SUFFIX), 1
    while place.exists():
        number += 1
        place = out.with_name(f"{out.name}{SUFFIX}-{number}")
    durable.make(place)
    tracker = Tracker(place, settings, config, 0, job, axes)
    try:
        yield tracker
    finally:
        tracker.close()
        say(f"metrics  {place}")
