"""A W&B server in miniature on this machine: it takes what ``wandb sync`` sends, or refuses as a real one may."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class Server(ThreadingHTTPServer):
    """Keeps what it was sent: ``rows`` of the history, ``exit_codes``, names of ``artifacts`` and uploaded ``files``.

    ``refuses``: None, or "key" (401 to everything), or "history" (404, as for a deleted run).
    ``holds_after``: when so many runs are whole, it answers to the history of the next when ``goes_on`` is set.
    """

    daemon_threads = True

    def __init__(self, refuses: str | None, holds_after: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refuses, self.holds_after, self.goes_on = refuses, holds_after, Event()
        self.rows: list[dict[str, Any]] = []
        self.exit_codes: list[int] = []
        self.artifacts: set[str] = set()
        self.files: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """Return what makes the client come here, with a key."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": "a" * 40, "WANDB_MODE": ""}

    def handle_error(self, *_: Any) -> None:
        """Say nothing when the client hangs up."""


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        """Take a file."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.files.add(self.path.removeprefix("/upload/"))
        self._answer(200, {})

    def do_POST(self) -> None:
        """Answer a question or take a part of the history."""
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.refuses == "key":
            self._answer(401, {"data": None})
        elif self.path.endswith("/graphql"):
            asked = json.loads(sent)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            self._answer(200, {"data": self._data(name[1] if name else "", asked.get("variables") or {})})
        elif "file_stream" in self.path and self.server.refuses == "history":
            self._answer(404, {"error": "run deleted"})
        else:
            if "file_stream" in self.path:
                if len(self.server.exit_codes) == self.server.holds_after:
                    self.server.goes_on.wait(600)
                self._take(json.loads(sent))
            self._answer(200, {"exitcode": None, "limits": {}})

    def _take(self, part: dict[str, Any]) -> None:
        lines = part.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.server.rows += [json.loads(line) for line in lines]
        if part.get("complete"):
            self.server.exit_codes.append(part["exitcode"])

    def _data(self, asked: str, given: dict[str, Any]) -> dict[str, Any]:
        if asked == "Viewer":
            return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if asked == "UpsertBucket":
            project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": given.get("name"), "displayName": given.get("displayName"), "config": "{}"}
            return {"upsertBucket": {"bucket": bucket | {"project": project, "historyLineCount": 0}, "inserted": True}}
        if asked == "CreateArtifact":
            self.server.artifacts.add(given["input"]["artifactCollectionName"])
            last = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": last}}}
        if asked == "CreateRunFiles":
            here = f"http://127.0.0.1:{self.server.server_port}/upload/"
            files = [{"name": name, "uploadUrl": here + name} for name in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(refuses: str | None = None, holds_after: int | None = None) -> Iterator[Server]:
    """Serve while the body runs."""
    server = Server(refuses, holds_after)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
