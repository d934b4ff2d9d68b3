"""A server of Weights & Biases on this machine, as far as runs need one: their settings, metrics and files."""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Run:
    """What the server holds of a run. history: rows of metrics; uploaded: name of each file -> its content; about: its
    group, job type, notes and tags; used: ids of artifacts."""

    def __init__(self):
        self.history, self.summary, self.config, self.uploaded, self.about = [], {}, "{}", {}, {}
        self.used = []


class Artifact:
    """A version of an artifact. made_by: the run's id. files: path -> entry of the manifest; content: path -> bytes."""

    def __init__(self, given):
        self.type, self.name, self.digest = (
            given[key] for key in ("artifactTypeName", "artifactCollectionName", "digest")
        )
        self.made_by, self.aliases = given["runName"], [alias["alias"] for alias in given["aliases"] or ()]
        self.committed, self.files, self.content = False, {}, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Prints nothing."""

    def do_PUT(self):
        _, kind, name, file = self.path.split("/", 3)
        if kind == "file":
            self.server.runs[name].uploaded[file] = self._body()
        elif kind == "manifest":
            self.server.artifacts[name].files = json.loads(self._body())["contents"]
        else:
            self.server.artifacts[name].content[file] = self._body()
        self._answer({})

    def do_POST(self):
        asked = json.loads(self._body() or b"{}")
        self._answer(self._stream(asked) if "file_stream" in self.path else {"data": self._query(**asked)})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, values):
        body = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, asked):
        """Rows of metrics: those from their offset on are replaced."""
        run = self.server.runs[self.path.split("/")[4]]
        for file, chunk in (asked.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                run.history[chunk["offset"] :] = [json.loads(row) for row in chunk["content"]]
            if file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        return {}

    def _query(self, query, variables=None, operationName="", **_):  # noqa: N803, the protocol's name
        runs, given = self.server.runs, variables or {}
        if operationName == "UpsertBucket":
            run = runs.setdefault(given["name"], Run())
            run.config = given["config"] or run.config
            about = {key: given.get(key) for key in ("groupName", "jobType", "notes", "tags")}
            run.about |= {key: value for key, value in about.items() if value}
            return {"upsertBucket": {"bucket": self._bucket(given["name"]), "inserted": True}}
        if operationName == "RunResumeStatus":
            bucket = self._bucket(given["name"]) if given["name"] in runs else None
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}, "bucket": bucket}}
        if operationName == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": self._url(f"file/{given['run']}/{name}")} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if "Artifact" in operationName:
            return self._artifact(operationName, given)
        if "viewer" in query.lower():
            viewer = {"id": "u", "entity": "e", "username": "e", "email": "", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer, "serverInfo": None}
        return {"serverInfo": {"features": []}}

    def _url(self, path):
        return "http://{}:{}/{}".format(*self.server.server_address, path)

    def _artifact(self, operation, given):
        """A version that is there with the same content is not made again."""
        artifacts, asked = self.server.artifacts, given.get("input", given)
        if operation == "CreateArtifact":
            new = Artifact(asked)
            same = [key for key, a in artifacts.items() if (a.name, a.digest) == (new.name, new.digest)]
            key = same[0] if same else f"a{len(artifacts)}"
            state = "COMMITTED" if artifacts.setdefault(key, new).committed else "PENDING"
            sequence = {"latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": key, "state": state, "artifactSequence": sequence}}}
        if operation in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            key = given.get("artifactID") or given["artifactManifestID"]
            file = {"id": "f", "uploadUrl": self._url(f"manifest/{key}/manifest"), "uploadHeaders": []}
            made = {"artifactManifest": {"id": key, "file": file}}
            return {operation[0].lower() + operation[1:]: made}
        if operation == "CreateArtifactFiles":
            edges = []
            for one in asked["artifactFiles"]:
                key, name = one["artifactID"], one["name"]
                urls = {"uploadUrl": self._url(f"artifact/{key}/{name}"), "uploadMultipartUrls": None}
                node = {"storagePath": name, "uploadHeaders": [], "artifact": {"id": key}, **urls}
                edges.append({"node": node})
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if operation == "CommitArtifact":
            artifacts[asked["artifactID"]].committed = True
            artifact = {"id": asked["artifactID"], "digest": artifacts[asked["artifactID"]].digest}
            return {"commitArtifact": {"artifact": artifact}}
        if operation == "UseArtifact":
            self.server.runs[asked["runName"]].used.append(asked["artifactID"])
            return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}
        return {}

    def _bucket(self, name):
        run = self.server.runs[name]
        return {
            "id": name,
            "name": name,
            "displayName": name,
            "description": "",
            "notes": None,
            "tags": [],
            "sweepName": None,
            "project": {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}},
            "config": run.config,
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "wandbConfig": json.dumps({"t": {}}),
        }


@contextmanager
def wandb_server(artifacts=None):
    """Yields the server's URL, and its runs by their id, while the block runs. artifacts: a dictionary for those that
    it gets."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.artifacts = {} if artifacts is None else artifacts
    server.runs, thread = {}, threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.runs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
