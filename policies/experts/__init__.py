"""Trained experts that ship, and which .zip files may be loaded."""
