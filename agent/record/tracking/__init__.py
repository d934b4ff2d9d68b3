"""Metrics of a run, as lines of JSON and in the sinks that the config names (docs/tracking.md, docs/metrics.md)."""

from agent.record.tracking.axes import ENV_STEPS
from agent.record.tracking.job import TrackedJob
from agent.record.tracking.tracker import Tracker

__all__ = ["ENV_STEPS", "TrackedJob", "Tracker"]
