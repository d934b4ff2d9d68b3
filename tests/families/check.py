"""Each family through `HFBackend`, compared with the model itself: one request at a time, whole, without a cache.

    python -m tests.families.check FOLDER [NAME ...]

A process of its own, because the processors of many families need torchvision, and transformers looks for it once, when
it is imported: where no torchvision is installed, one that lies in .venv/families is used. Prints a line of JSON for
each family.
"""

import json
import logging
import sys
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

from tests.families.torchvision_operators import import_torchvision

ASIDE = Path(__file__).parents[2] / ".venv" / "families"  # where `make test` puts packages that only families need


def find_torchvision() -> None:
    """Import torchvision where there is one."""
    if find_spec("torchvision") is None and ASIDE.is_dir():
        sys.path.append(str(ASIDE))
    if find_spec("torchvision") is not None:
        import_torchvision()


find_torchvision()

import numpy as np  # noqa: E402
from torch import set_num_threads  # noqa: E402

from policies.backend import Request  # noqa: E402
from policies.backends.huggingface import HFBackend  # noqa: E402
from policies.backends.loading import load_backend  # noqa: E402
from policies.prompt import assistant, user  # noqa: E402
from tests.families.alone import REGEX, Alone  # noqa: E402
from tests.families.build import FAMILIES, build  # noqa: E402
from tests.families.training import trained  # noqa: E402

WORDS = "push the red cube to the pad", "reach the green pad. left 19 8. slowly", "push. now"  # of different lengths
FOLLOWING = "red cube 1 2; move +1 -2", "green cube 13 4; move +0 +0"


def requests(frames: int) -> list[Request]:
    rng = np.random.default_rng(frames)
    return [Request(rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8), user(text, frames)) for text in WORDS]


def questions(request: Request) -> list[list]:
    """Longer prompts: one whose words go on, one that is a later turn."""
    text, frames = request.messages[0]["content"][-1]["text"], len(request.frames)
    longer, turn = FOLLOWING
    return [user(f"{text}. {longer}. good?", frames), [*request.messages, *assistant(turn), *user("good?", 0)]]


def compare(backend: HFBackend, frames: int) -> dict[str, float]:
    """How many answers are other ones than alone, and the largest difference of odds: of prompts, of longer ones that
    share what was read, and of those whose words are read together with what is said."""
    alone, asked = Alone(backend), requests(frames)
    prefilled = backend.prefill(asked)
    longer = [questions(request) for request in asked]
    each = [Request(r.frames, messages) for r, some in zip(asked, longer, strict=True) for messages in some]
    said = {id(r): (alone.greedy(r), alone.odds(r, "yes", "no")) for r in (*asked, *each)}
    other, differences = 0, []
    for batch, single in (
        (prefilled, asked),
        (prefilled.extend(longer), each),
        (prefilled.extend(longer, last=True), each),
    ):
        answers = [answer for (answer,) in batch.generate(REGEX, [0.0], [[0]] * len(single))]
        odds = batch.odds(["yes"] * len(single), ["no"] * len(single))
        expected = [said[id(r)] for r in single]
        other += sum(a != b for a, (b, _) in zip(answers, expected, strict=True))
        differences += [abs(a - b) for a, (_, b) in zip(odds.tolist(), expected, strict=True)]
    return {"other_answers": other, "odds_difference": max(differences)}


def check(name: str, folder: Path) -> dict:
    """What a family's checkpoint does here; `skipped` with the reason, where its processor needs what is missing."""
    try:
        build(name, folder)
    except ImportError as error:
        return {"family": name, "skipped": str(error).strip().splitlines()[0]}
    backend = load_backend(folder)
    result = {"family": name, "shares": backend.shares, "padding": backend.padding, "lead": backend.template.lead}
    return result | {f"frames_{n}": compare(backend, n) for n in (1, 2)} | {"trained": trained(folder)}


def main() -> None:
    folder, *names = sys.argv[1:]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    set_num_threads(1)
    for name in names or FAMILIES:
        try:
            result = check(name, Path(folder) / name.replace(" ", "_"))
        except Exception:  # printed whole: the test fails with it
            result = {"family": name, "error": traceback.format_exc()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
