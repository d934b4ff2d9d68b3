"""Environments whose reset is not clean, and the ways back to a state."""
