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

ASIDE = Path(__file__).parents[2] / ".venv" / "families"  # where `make test` puts packages that only families need


def find_torchvision() -> None:
    """Make torchvision importable. A build for CUDA does not import beside a torch for CPUs: its compiled operators do
    not load. None is used here, but the import asks for the names of two, which are declared."""
    import torch

    if find_spec("torchvision") is None and ASIDE.is_dir():
        sys.path.append(str(ASIDE))
    if find_spec("torchvision") is None:
        return
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        find_torchvision.library = library  # the names are declared for as long as it lives
        import torchvision  # noqa: F401


find_torchvision()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import xgrammar  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from agent.optimise.dpo import train_dpo  # noqa: E402
from agent.optimise.sft import train_sft  # noqa: E402
from agent.organise.outcome import Outcome  # noqa: E402
from agent.organise.rows import Example, Pair  # noqa: E402
from policies.backend import Request  # noqa: E402
from policies.backends.adapters import lora  # noqa: E402
from policies.backends.huggingface import HFBackend  # noqa: E402
from policies.backends.loading import load_backend  # noqa: E402
from policies.backends.settings import Lora  # noqa: E402
from policies.prompt import assistant, user  # noqa: E402
from tests.families.build import FAMILIES, build  # noqa: E402

REGEX = r"(red|green|blue) (cube|pad) \d{1,2} \d{1,2}; move (\+|-)\d (\+|-)\d"
WORDS = "push the red cube to the pad", "reach the pad. left 9 8", "reach the green pad. left 19 8. slowly", "push. now"
FOLLOWING = "red cube 1 2; move +1 -2", "blue pad 11 2; move -1 +2", "green cube 3 4; move +0 +0"


def requests(frames: int) -> list[Request]:
    rng = np.random.default_rng(frames)
    return [Request(rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8), user(text, frames)) for text in WORDS]


def questions(request: Request) -> list[list]:
    """Longer prompts: two whose words go on, one that is a later turn."""
    text, frames = request.messages[0]["content"][-1]["text"], len(request.frames)
    longer = [user(f"{text}. {answer}. good?", frames) for answer in FOLLOWING[:2]]
    return [*longer, [*request.messages, *assistant(FOLLOWING[2]), *user("good?", 0)]]


class Alone:
    """The model itself: one request, whole, by a plain forward pass for each token."""

    def __init__(self, backend: HFBackend):
        self.backend, self.model, self.reader = backend, backend.model, backend.reader

    def scores(self, request: Request, said: list[int]) -> torch.Tensor:
        """(vocabulary,): the logits after a prompt and the tokens said."""
        return self.every(request, said)[-1]

    def every(self, request: Request, said: list[int]) -> torch.Tensor:
        """(n, vocabulary): the logits after each token of a prompt and of what is said."""
        read = self.reader.read(request, self.backend.template.prompt(request.messages))
        inputs = dict(read.aligned | read.images)
        for name, value in read.aligned.items():
            more = torch.tensor([said], dtype=value.dtype) if name == "input_ids" else value.new_zeros(1, len(said))
            inputs[name] = torch.cat([value, more + (name == "attention_mask")], dim=1)
        for module in self.model.modules():
            if hasattr(module, "rope_deltas"):
                module.rope_deltas = None
        with torch.inference_mode():
            return self.model(**inputs, use_cache=False).logits[0].float()

    def greedy(self, request: Request) -> str:
        grammar, said = self.backend.grammar(REGEX), []
        matcher = xgrammar.GrammarMatcher(grammar)
        mask = xgrammar.allocate_token_bitmask(1, grammar.tokenizer_info.vocab_size)
        while True:
            matcher.fill_next_token_bitmask(mask, 0)
            scores = self.scores(request, said)[None]
            xgrammar.apply_token_bitmask_inplace(scores, mask)
            token = int(scores.argmax())
            assert matcher.accept_token(token)
            if matcher.is_terminated():
                return self.backend.texts(torch.tensor([said]))[0]
            said.append(token)

    def odds(self, request: Request, text: str, other: str) -> float:
        ((shared, pair),) = self.backend.partings([text], [other])
        return float(self.scores(request, shared)[list(pair)].softmax(dim=0)[0])


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


class Log(TrainerCallback):
    """What a trainer logged, step by step."""

    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        self.lines.append(dict(logs))


def row_losses(backend: HFBackend, rows: list[Example]) -> tuple[float, int]:
    """The summed cross entropy of the answers' tokens, and their number, by a plain forward pass for each row."""
    alone, total, count = Alone(backend), 0.0, 0
    for row in rows:
        request = Request(row.frames, row.prompt)
        asked = backend.template.prompt(row.prompt)
        told = backend.processor.apply_chat_template([[*row.prompt, *assistant(row.answer)]], tokenize=False)[0]
        (said,) = backend.reader.tokens([told[len(asked) :]])
        scores = alone.every(request, said[:-1])[-len(said) :]
        total += float(torch.nn.functional.cross_entropy(scores, torch.tensor(said), reduction="sum"))
        count += len(said)
    return total, count


def train(backend: HFBackend, out: Path) -> dict[str, float]:
    """With adapters: how far SFT's first loss is from that of the rows one by one, DPO's first rewards, and what
    merging changes in a probability."""
    model = lora.add(backend.model, Lora(r=4, alpha=8))
    adapted = HFBackend(model, backend.processor, backend.settings)
    rows = [
        Example(r.frames, r.messages, answer) for n in (1, 2) for r, answer in zip(requests(n), FOLLOWING, strict=False)
    ]
    total, count = row_losses(adapted, rows)
    settings = {"max_steps": 3, "per_device_train_batch_size": len(rows), "learning_rate": 1e-2, "logging_steps": 1}
    sft, dpo = Log(), Log()
    train_sft(model, backend.processor, rows, out, settings, [sft])
    pairs = [Pair(row.frames, row.prompt, row.answer, "red cube 9 9; move +3 +3", Outcome(1.0, 0.0)) for row in rows]
    train_dpo(model, None, backend.processor, pairs, out, settings | {"per_device_train_batch_size": 3}, [dpo])
    model.set_adapter(lora.ADAPTER)
    model.eval()
    before = Alone(adapted).scores(requests(1)[0], []).softmax(dim=0)
    whole = HFBackend(lora.merged(model), backend.processor, backend.settings)
    after = Alone(whole).scores(requests(1)[0], []).softmax(dim=0)
    rewards = [abs(dpo.lines[0][f"rewards/{kind}"]) for kind in ("chosen", "rejected")]
    return {
        "sft_difference": abs(sft.lines[0]["loss"] - total / count),
        "sft_gain": sft.lines[0]["loss"] - sft.lines[2]["loss"],
        "dpo_first_reward": max(rewards),
        "merge_difference": float((after - before).abs().max()),
    }


def check(name: str, folder: Path) -> dict:
    """What a family's checkpoint does here; `skipped` with the reason, where its processor needs what is missing."""
    try:
        build(name, folder)
    except ImportError as error:
        return {"family": name, "skipped": str(error).strip().splitlines()[0]}
    backend = load_backend(folder)
    result = {"family": name, "shares": backend.shares, "padding": backend.padding, "lead": backend.template.lead}
    result |= {f"frames_{n}": compare(backend, n) for n in (1, 2)}
    return result | train(backend, folder / "trainer")


def main() -> None:
    folder, *names = sys.argv[1:]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for name in names or FAMILIES:
        try:
            result = check(name, Path(folder) / name.replace(" ", "_"))
        except Exception:  # printed whole: the test fails with it
            result = {"family": name, "error": traceback.format_exc()}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
