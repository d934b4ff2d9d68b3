"""The files of a checkpoint, checked before anything of them is loaded."""
