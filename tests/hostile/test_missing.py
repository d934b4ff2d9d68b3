"""A part of `tests.hostile.missing` that needs no root; and W&B's server, asked before a run."""

import socket
import threading

import pytest
import wandb

from agent.commands import checks
from agent.config import Tracking
from envs.errors import UserError
from tests.hostile import missing


@pytest.mark.slow
@pytest.mark.parametrize("thing", ["driver", "robotics"])
def test_what_is_missing_is_one_line(tmp_path, thing):
    (tmp_path / "base").mkdir()
    case = missing.tried(tmp_path / "base", "eval", thing)
    assert (case.status, case.left, case.wrong) == (2, [], "")


@pytest.fixture
def answering(monkeypatch):
    """Makes the address of a server that says something, once, and nothing more; None: it never answers."""
    monkeypatch.setattr(checks, "ANSWER_S", 0.3)
    servers = []

    def make(said):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        if said is not None:
            threading.Thread(target=lambda: server.accept()[0].sendall(said), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield make
    for server in servers:
        server.close()


def closed(answering):
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (closed, "Connection refused"),
        (lambda answering: answering(None), "timed out"),
        (lambda answering: answering(b"SSH-2.0-OpenSSH_9\r\n\r\n"), "SSH-2.0"),
        (lambda answering: "http://nowhere.invalid", "ame"),
        (lambda answering: "nonsense", "unknown url type"),
        (lambda answering: "http://[::1", "URL"),
    ],
    ids=["closed", "silent", "no HTTP", "no name", "no address", "half an address"],
)
def test_why_a_server_does_not_answer_is_said(answering, address, why):
    said = checks._does_not_answer(address(answering))
    assert "\n" not in said
    assert why in said


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"401 Unauthorized", b"503 Service Unavailable"])
def test_a_server_that_says_anything_is_there(answering, status):
    said = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
    assert checks._does_not_answer(answering(said)) == ""


class Login:
    """Stands for W&B's login: what it was asked, and what it raises where it asks the server."""

    def __init__(self, error=None):
        self.error, self.asked = error, []

    def __call__(self, verify):
        self.asked.append(verify)
        if verify and self.error:
            raise self.error


@pytest.mark.parametrize("error", [wandb.errors.AuthenticationError("bad key"), wandb.errors.UsageError("bad\nkey")])
def test_a_key_that_the_server_refuses_is_named_before_the_run(monkeypatch, error):
    monkeypatch.setattr(checks, "_does_not_answer", lambda address: "")
    monkeypatch.setattr(wandb, "login", Login(error))
    with pytest.raises(UserError, match=r"mode = 'online': bad.* valid: a key of that server by `wandb login`"):
        checks.check_login(Tracking(mode="online"))


def test_a_server_that_is_away_ends_no_run(monkeypatch, capsys):
    login = Login(wandb.errors.AuthenticationError("away"))
    monkeypatch.setattr(wandb, "login", login)
    monkeypatch.setattr(checks, "_does_not_answer", lambda address: "Connection refused")
    checks.check_login(Tracking(mode="online"))
    assert login.asked == [False]
    said = capsys.readouterr().out
    assert said.startswith("Weights & Biases does not answer at http")
    assert said.endswith(": Connection refused; the run will be in metrics.jsonl\n")
