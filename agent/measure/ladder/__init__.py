"""The ladder: what is measured of a task before anything is learned on it, rung by rung; see `climbing.py`."""
