"""Recorded demonstrations of other programs and of ours, read one episode at a time."""
