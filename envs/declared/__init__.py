"""Tasks from YAML files, without code: any Gymnasium environment, or any set of questions, and the words for its state.

file.py: what a file may say, and the task that comes of it. instructions.py: what the environment says itself.
numbers.py, sources.py: the numbers of `sees`. language.py: their words, captions, thoughts and legend. ranges.py,
measuring.py, automatic.py: ranges that the file does not give, as they were measured in play, in `.sees.yaml` beside
it. measured.py: levels and repeats that an expert succeeds with, in `.measured.yaml`.
"""

from envs.declared.file import Declared, DeclaredQuestions, declared, forget, ranges_file, unseen

__all__ = ["Declared", "DeclaredQuestions", "declared", "forget", "ranges_file", "unseen"]
