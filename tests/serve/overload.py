"""`handeye serve` under twice the load that it can answer, with malformed requests mixed in.

    python tests/serve/overload.py --seconds 600

It starts the server in a process of its own, measures how many requests a second it answers, then sends twice as many;
beside every fourth a malformed one, and beside every 64th one with another regex. Prints one line of numbers, and exits
with status 1 where the server crashed, answered one request with 5xx or a wrong text, or grew by more than a tenth and
50 MiB.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import cv2
import httpx
import numpy as np

REGEX = "move [+-][0-4] [+-][0-4]"
RAW = (  # what is no request, or half of one
    b"\x16\x03\x01\x02\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
)
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
GROWTH, GROWTH_KB = 0.1, 50 * 1024


def picture(seed: int = 0) -> str:
    """A data URL of a noisy frame of 64 px."""
    frame = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", frame)[1]).decode()


def bomb(width: int = 60_000, height: int = 60_000) -> str:
    """A data URL of a PNG of some kilobytes that says, and holds, billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(10**6), 9) * 3
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def body(text: str = "reach the red cube", url: str | None = None, **changes: object) -> dict:
    """A chat completion's body. changes: further keys, or others."""
    parts = [{"type": "image_url", "image_url": {"url": url or picture()}}, {"type": "text", "text": text}]
    common = {"temperature": 0, "structured_outputs": {"regex": REGEX}, "max_completion_tokens": 64}
    return {"messages": [{"role": "user", "content": parts}]} | common | changes


def message(content: object, role: object = "user") -> list:
    return [{"role": role, "content": content}]


MALFORMED: dict[str, tuple[object, int]] = {  # name -> a body, as JSON or as bytes, and the status that answers it
    "empty": (b"", 400),
    "no JSON": (b"move", 400),
    "half of JSON": (json.dumps(body()).encode()[:-9], 400),
    "not UTF-8": (b'{"model": "\xff\xfe"}', 400),
    "deep JSON": (b"[" * 100_000, 400),
    "a long number": (b'{"n": ' + b"9" * 10_000 + b"}", 400),
    "a list": ([1, 2], 400),
    "no messages": ({"model": None}, 400),
    "messages that are none": (body(messages="hello"), 400),
    "no message": (body(messages=[]), 400),
    "a message without content": (body(messages=[{"role": "user"}]), 400),
    "a role that there is not": (body(messages=message("hi", "tool")), 400),
    "a part that there is not": (body(messages=message([{"type": "video"}])), 400),
    "no text": (body(messages=message([])), 400),
    "half a surrogate": (rb'{"messages": [{"role": "user", "content": "\ud800"}]}', 400),
    "another model": (body(model="gpt"), 404),
    "an unknown setting": (body(temprature=1), 400),
    "a setting that is not offered": (body(top_p=0.9), 400),
    "a stream": (body(stream=True), 400),
    "a temperature below 0": (body(temperature=-1), 400),
    "an infinite temperature": (b'{"messages": [{"role": "user", "content": "a"}], "temperature": Infinity}', 400),
    "a temperature as text": (body(temperature="1"), 400),
    "no samples": (body(n=0), 400),
    "a million samples": (body(n=1_000_000), 400),
    "a seed that is too large": (body(seed=2**80), 400),
    "a regex that does not parse": (body(structured_outputs={"regex": "(a"}), 400),
    "a regex that looks ahead": (body(structured_outputs={"regex": "a(?=b)"}), 400),
    "a deep regex": (body(structured_outputs={"regex": "(" * 4000 + ")" * 4000}), 400),
    "a long regex": (body(structured_outputs={"regex": "a" * 10_000}), 400),
    "two regexes": (body(regex="a"), 400),
    "logprobs of nothing": (body(logprobs=True), 400),
    "one token": (body(structured_outputs=None, logprobs=True, logprob_token_ids=[3]), 400),
    "tokens that there are not": (body(structured_outputs=None, logprobs=True, logprob_token_ids=[3, 10**9]), 400),
    "a long text": (body("reach " * 10_000), 413),
    "a picture from elsewhere": (body(url="http://127.0.0.1/secret.png"), 400),
    "a file": (body(url="file:///etc/passwd"), 400),
    "not base64": (body(url="data:image/png;base64,%%%"), 400),
    "no picture": (body(url="data:image/png;base64,aGVsbG8="), 400),
    "half a picture": (body(url=picture()[: -len(picture()) // 3 // 4 * 4]), 400),
    "a picture of billions of pixels": (body(url=bomb()), 413),
    "many pictures": (body(messages=message([body()["messages"][0]["content"][0]] * 17)), 413),
    "pictures of two sizes": (
        body(messages=message([*body()["messages"][0]["content"], *body(url=bomb(1, 1))["messages"][0]["content"]])),
        400,
    ),
    "an image's placeholder in the text": (body("<image> <image>"), 400),
}


def encoded(what: object) -> bytes:
    return what if isinstance(what, bytes) else json.dumps(what).encode()


@asynccontextmanager
async def serving(policy: str, *options: str) -> AsyncIterator[tuple[str, subprocess.Popen]]:
    """The URL and the process of `handeye serve` while the block runs."""
    command = [sys.executable, "-m", "agent.cli", "serve", policy, "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        line = await asyncio.to_thread(process.stdout.readline)
        yield re.search(r"http://\S+(?=/v1)", line)[0], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def resident_kb(process: subprocess.Popen) -> int:
    """Resident memory of a process; 0 once it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        return int(found[1]) if found else 0
    return 0


class Load:
    """What is sent, and what came back: statuses, seconds until an answer, wrong answers."""

    def __init__(self, url: str):
        self.host, self.port = url.removeprefix("http://").split(":")
        self.statuses, self.latencies, self.wrong = Counter(), [], Counter()
        self.good = [encoded(body(f"reach the red cube {i}", picture(i))) for i in range(16)]

    async def _post(self, content: bytes) -> tuple[int, bytes]:
        """Status and body. By hand: a pool of a thousand connections costs httpx more than the server's answer."""
        reader, writer = await asyncio.open_connection(self.host, int(self.port))
        try:
            writer.write(HEAD % len(content) + content)
            head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return int(head.split()[1]), answer

    async def ask(self, i: int) -> None:
        """A request that is answered, unless the server is full."""
        started = time.monotonic()
        try:
            status, answer = await self._post(self.good[i % 16])
        except (OSError, IndexError) as error:
            self.statuses[f"{type(error).__name__} Error"] += 1
            return
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(time.monotonic() - started)
            text = json.loads(answer)["choices"][0]["message"]["content"]
            self.wrong["answer"] += not re.fullmatch(REGEX, text)

    async def ask_otherwise(self, i: int) -> None:
        """With a regex that no other request has: what is compiled must not be kept for ever."""
        try:
            status, _ = await self._post(
                encoded(body(structured_outputs={"regex": f"{REGEX}( {i}| [a-z]{{{i % 9}}})"}))
            )
        except (OSError, IndexError) as error:
            status = f"{type(error).__name__} Error"
        self.statuses[f"otherwise {status}"] += 1

    async def ask_malformed(self, i: int) -> None:
        name, (what, expected) = list(MALFORMED.items())[i % len(MALFORMED)]
        try:
            status, _ = await self._post(encoded(what))
        except (OSError, IndexError) as error:
            self.statuses[f"malformed {type(error).__name__} Error"] += 1
            return
        self.statuses[f"malformed {status}"] += 1
        if status not in (expected, 429):
            self.wrong[name] += 1

    async def break_off(self, i: int) -> None:
        """Sends what is not HTTP, or half of it, and goes away after a while."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(self.host, int(self.port))
            writer.write(RAW[i % len(RAW)])
            await writer.drain()
            await asyncio.sleep(1)
            writer.close()
            self.statuses["broken off"] += 1


async def capacity(load: Load, seconds: float, clients: int) -> float:
    """Requests a second that the server answers that many clients, one after another."""
    end, n = time.monotonic() + seconds, iter(range(10**9))

    async def one_after_another() -> None:
        while time.monotonic() < end:
            await load.ask(next(n))

    started = time.monotonic()
    await asyncio.gather(*(one_after_another() for _ in range(clients)))
    return load.statuses[200] / (time.monotonic() - started)


async def overload(policy: str, seconds: float, measured_s: float, waiting: int) -> dict[str, object]:
    """Twice the capacity for `seconds`. The result's `ok` says whether the server bore it."""
    clients = waiting * 3 // 4
    async with serving(policy, "--waiting", str(waiting)) as (url, process):
        await capacity(Load(url), measured_s / 2, clients)  # grammars are compiled, pages are touched
        rate = await capacity(Load(url), measured_s, clients)
        load, memory, tasks = Load(url), [], set()
        started, sent = time.monotonic(), 0
        while (elapsed := time.monotonic() - started) < seconds:
            while sent < 2 * rate * elapsed:
                some = [load.ask(sent)]
                some += [load.ask_malformed(sent // 4)] if sent % 4 == 0 else []
                some += [load.ask_otherwise(sent)] if sent % 64 == 0 else []
                some += [load.break_off(sent // 64)] if sent % 64 == 0 else []
                for one in some:
                    tasks.add(task := asyncio.create_task(one))
                    task.add_done_callback(tasks.discard)
                sent += 1
            memory.append(resident_kb(process))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)
        memory.append(resident_kb(process))
        health = httpx.get(f"{url}/health").json()
        last = Load(url)
        await last.ask(0)
        alive = process.poll() is None
    third = max(1, len(memory) // 3)
    early, late = max(memory[len(memory) // 10 : third + 1]), max(memory[-third:])
    bad = sum(n for status, n in load.statuses.items() if str(status).endswith(("500", "503", "504", "Error")))
    flat = late - early <= max(GROWTH * early, GROWTH_KB)
    answered = load.statuses[200] / (time.monotonic() - started)
    return {
        "ok": alive and flat and not bad and not +load.wrong and last.statuses[200] == 1,
        "seconds": seconds,
        "capacity_per_s": round(rate, 1),
        "sent": sent,
        "answered_per_s": round(answered, 1),
        "statuses": {str(status): n for status, n in sorted(load.statuses.items(), key=str)},
        "wrong": dict(+load.wrong),
        "latency_s": {"median": round(median(load.latencies), 2), "max": round(max(load.latencies), 2)},
        "rss_mb": {"early": early // 1024, "late": late // 1024, "max": max(memory) // 1024},
        "rss_mb_over_time": [some // 1024 for some in memory[:: max(1, len(memory) // 10)]],
        "waiting_at_end": health["waiting"],
        "exit": process.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="seed")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--measured", type=float, default=10.0, help="seconds in which the capacity is measured")
    parser.add_argument("--waiting", type=int, default=128, help="requests that the server accepts at a time")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    result = asyncio.run(overload(arguments.policy, arguments.seconds, arguments.measured, arguments.waiting))
    print(json.dumps(result))
    sys.exit(not result["ok"])


if __name__ == "__main__":
    main()
