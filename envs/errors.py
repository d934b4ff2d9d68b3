"""Mistakes of a user, as opposed to bugs: the command line prints them as one line and exits with status 2.

Beside them: a simulation that went wrong.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A value that cannot work; the message names it and the valid ones, in one line."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class SimulatorError(Exception):
    """A simulation that went wrong; the message says the cause, in one line. What follows is no play, and its episode
    is broken."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


def unknown(what: str, value: object, valid: Iterable[str], in_short: Iterable[str] = ()) -> UserError:
    """The error for `value`, which is none of `valid`. in_short: how they are listed, where they are many."""
    names = sorted(valid)
    close = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return UserError(f"unknown {what} {value!r}{hint}; valid: {', '.join(sorted(in_short) or names)}")


def close_to(value: str, valid: Iterable[str], n: int = 5) -> str:
    """The valid values most like `value`, where there are too many to name."""
    close = difflib.get_close_matches(value, sorted(valid), n=n, cutoff=0.0)
    return f"valid: {', '.join(close)}, ..."


def shown(value: object, most: int = 200) -> str:
    """A value in a message: its repr, cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def first_line(error: Exception) -> str:
    """What was raised, short; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
