"""Verdicts by a server's log-probabilities: of token ids, or of the most probable tokens."""

import json

import numpy as np
import pytest
from recorder import ASKED, Recorder, completion
from starlette.responses import JSONResponse, Response

from envs.errors import UserError


def logprobs(*pairs):
    top = [{"token": token, "logprob": p} for token, p in pairs]
    return {"choices": [{"message": {"content": ""}, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}


def words_as_tokens(known):
    """The routes of a tokenizer whose tokens are words, numbered as in `known`."""

    async def tokenize(request):
        words = (await request.json())["prompt"].split()
        return JSONResponse({"tokens": [known.index(word) for word in words], "count": len(words)})

    async def detokenize(request):
        return JSONResponse({"prompt": " ".join(known[i] for i in (await request.json())["tokens"])})

    return {"tokenize": tokenize, "detokenize": detokenize}


def odds(backend):
    return backend.prefill([ASKED]).odds(["so; yes"], ["so; no"])[0]


def test_verdicts_are_asked_for_by_token_ids(ask):
    recorder = Recorder(
        lambda body, number: logprobs(("token_id:7", -0.1), ("token_id:1", -2.0), ("token_id:2", -3.0)),
        **words_as_tokens(["so;", "yes", "no"]),
    )
    assert ask(recorder, odds) == pytest.approx(1 / (1 + np.exp(-1)))
    (body,) = recorder.bodies
    assert body["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "so;"}]}
    expected = {
        "logprobs": True,
        "logprob_token_ids": [1, 2],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_completion_tokens": 1,
        "return_tokens_as_token_ids": True,
    }
    assert body.items() >= expected.items()


@pytest.mark.parametrize(
    ("reply", "routes", "message"),
    [
        (
            logprobs(("yes", -1.0)),
            True,
            "does not say .*'token_id:1': .*logprob_token_ids.*odds=top_logprobs",
        ),
        (completion("yes"), True, "does not say the probability"),
        (logprobs(("token_id:1", float("-inf"))), True, "nonsense.*finite"),
        (
            completion("yes"),
            False,
            "tokenize refused .HTTP 404.*need /tokenize, .*odds=top_logprobs",
        ),
    ],
)
def test_a_server_without_token_ids_is_one_line(ask, reply, routes, message):
    text = json.dumps(reply)  # with -Infinity, as Python writes it
    recorder = Recorder(
        lambda body, number: Response(text, media_type="application/json"),
        **(words_as_tokens(["so;", "yes", "no"]) if routes else {}),
    )
    with pytest.raises(UserError, match=message):
        ask(recorder, odds)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (
            [(" yes", -1.0), (" no", -2.0), (" y", -3.0)],
            (np.exp(-1) + np.exp(-3)) / (np.exp(-1) + np.exp(-3) + np.exp(-2)),
        ),
        ([("No", -0.1), ("yes", -1.0), ("maybe", -4.0)], np.exp(-1) / (np.exp(-1) + np.exp(-4))),  # no: the least's
    ],
)
def test_verdicts_by_the_most_probable_tokens(ask, pairs, expected):
    recorder = Recorder(lambda body, number: logprobs(*pairs))
    assert ask(recorder, odds, odds="top_logprobs") == pytest.approx(expected)
    assert recorder.bodies[0]["top_logprobs"] == 20
    assert recorder.bodies[0]["messages"][-1]["content"][0]["text"] == "so;"


def test_verdicts_that_no_probable_token_begins_are_one_line(ask):
    with pytest.raises(UserError, match="neither 'yes' nor 'no' is among the 2 most probable tokens"):
        ask(Recorder(lambda body, number: logprobs(("maybe", -1.0), (" ", -2.0))), odds, odds="top_logprobs")


@pytest.mark.parametrize("way", ["token_ids", "top_logprobs"])
def test_texts_that_do_not_part_have_no_odds(ask, way):
    recorder = Recorder(**words_as_tokens(["so;", "yes", "no"]))
    with pytest.raises(UserError, match="'so; yes' and 'so; yes' do not part"):
        ask(recorder, lambda b: b.prefill([ASKED]).odds(["so; yes"], ["so; yes"]), odds=way)
