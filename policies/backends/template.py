"""A processor's chat template: the prompt that it makes of a conversation, and what it puts around an answer."""

import os
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

from jinja2 import TemplateError
from transformers import ProcessorMixin

from envs.errors import UserError
from envs.foreign.raising import forked
from policies.backends.checkpoint.files import BROKEN
from policies.backends.nano import CHAT_TEMPLATE
from policies.prompt import Message, assistant, user

RENDER_S = 20.0  # of a short question: templates take milliseconds
RENDER_BYTES = 10**9
ASKED, TOLD = "where is the red cube", "left of the pad"  # stand for a prompt and an answer


class ChatTemplate:
    """Renders prompts as a model is trained on them: trl trains on what follows the common start of the conversation
    with an answer and of the one that asks for it.

    lead: text between a prompt and its answer, which is trained on as part of the answer, such as the space after
    `Assistant:`. stop: the text after an answer. system: whether a system message is rendered. is_embedded: whether it
    is the embedded policy's, which is asked in a dialect of its own.
    """

    def __init__(self, processor: ProcessorMixin):
        """Raises UserError without a template, and where it fails, does not end, or leaves out what is said."""
        if not processor.chat_template:
            raise UserError("its processor has no chat template; valid: a model that is tuned to chat about images")
        self.processor = processor
        question = user(ASKED)
        if not _ends(lambda: self._render(question + assistant(TOLD), False)):
            limits = f"{RENDER_S:g} s and {RENDER_BYTES / 1e9:g} GB"
            raise UserError(f"its chat template does not render a question within {limits}; valid: one that ends")
        asked, told = self._render(question, True), self._render(question + assistant(TOLD), False)
        for part, text in ((ASKED, asked), (TOLD, told)):
            if part not in text:
                raise UserError(f"its chat template leaves out what is said: {part!r} became {text!r}")
        prompt = _common_start(asked, told[: told.rindex(TOLD)])
        self._dropped = asked[len(prompt) :]
        lead, _, self.stop = told[len(prompt) :].rpartition(TOLD)
        self._forced, self.lead = self._split(lead)
        self.system = self._has_system(question)
        self.is_embedded = processor.chat_template == CHAT_TEMPLATE

    def _split(self, lead: str) -> tuple[str, str]:
        """A lead in two: up to its last special token, which no grammar can ask for and belongs to the prompt; the
        rest."""
        special = sorted(self.processor.tokenizer.all_special_tokens, key=len)
        special += list(self.processor.tokenizer.get_added_vocab())
        end = max((lead.rindex(token) + len(token) for token in special if token and token in lead), default=0)
        return lead[:end], lead[end:]

    def _has_system(self, question: list[Message]) -> bool:
        system = [{"role": "system", "content": [{"type": "text", "text": TOLD}]}]
        try:
            text = self._render([*system, *question], True)
        except UserError:  # a template refuses roles that it does not know
            return False
        return TOLD in text and "'type'" not in text  # a template for plain strings prints the list of parts

    def _render(self, messages: Sequence[Message], ask: bool) -> str:
        try:
            return self.processor.apply_chat_template([list(messages)], add_generation_prompt=ask, tokenize=False)[0]
        except (TemplateError, *BROKEN) as error:
            said = f"{type(error).__name__}: {str(error)[:200]}"
            raise UserError(f"its chat template fails: {said}") from error

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text that asks for an answer to a conversation."""
        return self._render(messages, True).removesuffix(self._dropped) + self._forced

    def end_of_words(self, prompt: str, messages: Sequence[Message]) -> int:
        """Where the last message's own words end in the prompt."""
        words = messages[-1]["content"][-1]["text"].strip()  # some templates trim
        return prompt.rindex(words) + len(words)


def _ends(render: Callable[[], object]) -> bool:
    """Whether a template ends, within RENDER_S and RENDER_BYTES. A loop in it cannot be interrupted from outside, so it
    is rendered in a fork of this process first."""

    def out_of_memory() -> int:
        import resource  # of Unix

        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (held + RENDER_BYTES,) * 2)
        try:
            render()
        except MemoryError:
            return 1
        except UserError as error:
            return int(isinstance(error.__cause__, MemoryError))  # any other failure is named by the parent
        return 0

    return forked(out_of_memory, RENDER_S) == 0


def _common_start(one: str, other: str) -> str:
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
