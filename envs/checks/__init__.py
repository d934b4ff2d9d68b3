"""Checks that an environment's episodes are evidence: its simulation is healthy, and its states can be returned to."""
