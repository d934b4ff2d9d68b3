"""JSON files of a checkpoint, read within bounds. Nothing here imports torch."""

import json
from pathlib import Path
from typing import Any

from envs.errors import UserError, first_line, shown
from envs.validation import read_within, utf8

MOST_BYTES = 2**28  # of a file: a tokenizer with its merges has tens of megabytes


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError for anything else, naming the file."""
    content = read_within(path, MOST_BYTES, path.name)
    try:
        values = json.loads(utf8(content, path.name))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not JSON: {first_line(error)[:200]}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path.name} holds {shown(values, 60)}; valid: an object of JSON")
    return values
