"""A real browser without a screen: a small WebDriver client (W3C) of Debian's chromedriver, over httpx."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

# as root, without a GPU, and without a word to the network
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
]
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Home": "\ue011", "End": "\ue010", "Left": "\ue012"}
KEYS |= {"Right": "\ue014", "Down": "\ue015", "Space": " "}
WAIT_S = 60


def missing() -> str:
    """What is not installed of what a browser needs; empty where all is."""
    names = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"no {' and no '.join(names)}: apt-get install chromium chromium-driver" if names else ""


class Browser:
    """A session. run: JavaScript in the page, with its result; wait: until a JavaScript expression is true."""

    def __init__(self, client: httpx.Client, session: str):
        self._client, self._session = client, session

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._client.request(
            method, f"/session/{self._session}/{path}", json=body if method == "POST" else None
        )
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise RuntimeError(value["message"].splitlines()[0])
        return value

    def open(self, page: Path, after: str = "") -> None:
        self._ask("POST", "url", url="about:blank")  # else another fragment would not load the page again
        self._ask("POST", "url", url=page.resolve().as_uri() + after)

    def run(self, script: str, *arguments: Any) -> Any:
        return self._ask("POST", "execute/sync", script=script, args=arguments)

    def wait(self, expression: str, *arguments: Any) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not (value := self.run(f"return {expression}", *arguments)):
            if time.monotonic() > deadline:
                raise TimeoutError(expression)
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """With the pointer, what a CSS selector finds first: it must be in sight and uncovered, as for a person."""
        (element,) = self._ask("POST", "element", using="css selector", value=selector).values()
        self._ask("POST", f"element/{element}/click")

    def press(self, *keys: str) -> None:
        """Keys of KEYS or characters, one after another, to whatever has the focus."""
        some = [KEYS.get(key, key) for key in keys]
        actions = [{"type": kind, "value": key} for key in some for kind in ("keyDown", "keyUp")]
        self._ask("POST", "actions", actions=[{"type": "key", "id": "keyboard", "actions": actions}])

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        """The viewport, also below the least width of a window."""
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, whole: bool = False) -> None:
        import base64

        data = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _command(self, name: str, **parameters: Any) -> Any:
        return self._ask("POST", "goog/cdp/execute", cmd=name, params=parameters)

    def errors(self) -> list[str]:
        """What the console said since the last call, from warnings on."""
        said = self._ask("POST", "se/log", type="browser")
        return [line["message"] for line in said if line["level"] in ("WARNING", "SEVERE")]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A session of a browser of its own. profile: an empty folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            _until_ready(client)
            options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            session = made["sessionId"]
            try:
                yield Browser(client, session)
            finally:
                client.delete(f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait()


def _until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if client.get("/status").json()["value"]["ready"]:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
