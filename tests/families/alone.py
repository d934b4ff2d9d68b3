"""A model asked without our backend: one request, whole, by a plain forward pass for each token."""

import torch
import xgrammar

from policies.backend import Request
from policies.backends.huggingface import HFBackend

REGEX = r"(red|green|blue) (cube|pad) \d{1,2} \d{1,2}; move (\+|-)\d (\+|-)\d"


class Alone:
    """The model of a backend."""

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
