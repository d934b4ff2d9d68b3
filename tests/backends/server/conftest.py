"""Fixtures of a policy behind a server."""

import pytest

from policies.backends.server import client
from policies.backends.server.address import ServerAddress
from policies.backends.server.backend import ServerBackend


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def ask(listening):
    """Asks a recorder's server, by a function of the connected backend."""

    def run(recorder, question, **settings):
        with listening(recorder.app) as url:
            address = ServerAddress(f"{url}/v1", **({"patience_s": 5.0} | settings))
            return question(ServerBackend.connect(address))

    return run
