"""A local server with the API of the Hugging Face Hub, for one model repository over LFS."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.local_servers import serving


@dataclass
class Hub:
    """One repository, `user/name`.

    Attributes:
        files: content of its files by name.
        there: whether it exists.
        private: whether it was created as private.
        token: the token with write access.
        asked: method and path of each request.
        objects: uploaded large files by SHA-256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    there: bool = False
    private: bool | None = None
    token: str = "hf_secret"
    asked: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The hash of the current files."""
        everything = repr(sorted(self.files.items())).encode()
        return hashlib.sha1(everything).hexdigest()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run the server; yield its address."""
        with serving(partial(_Handler, self)) as address:
            yield address


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        known = self.headers["Authorization"] == f"Bearer {hub.token}"
        writes = self.command in ("POST", "PUT") and path != "/api/validate-yaml"
        if writes and not known and not path.startswith("/object/"):
            return self._reply({"error": "Invalid username or password."}, status=401)
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                hub.there = True
                hub.private = asked.get("visibility") == "private" or asked.get("private") is True
                return self._reply({"url": f"{self._host}/user/name", "name": "user/name"})
            case ["api", "validate-yaml"]:
                return self._reply({"errors": [], "warnings": []})
            case ["api", "models", "user", "name", "preupload", "main"]:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self._reply({"files": files})
            case ["user", "name.git", "info", "lfs", "objects", "batch"]:
                objects = [
                    {**one, "actions": {"upload": {"href": f"{self._host}/object/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]
                return self._reply({"transfer": "basic", "objects": objects})
            case ["object", oid]:
                assert hashlib.sha256(body).hexdigest() == oid
                hub.objects[oid] = body
                return self._reply({})
            case ["api", "models", "user", "name", "commit", "main"]:
                for line in body.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        hub.files[value["path"]] = base64.b64decode(value["content"])
                    if entry["key"] == "lfsFile":
                        hub.files[value["path"]] = hub.objects[value["oid"]]
                address = f"{self._host}/user/name/commit/{hub.commit}"
                return self._reply(
                    {"commitUrl": address, "commitOid": hub.commit, "hookOutput": ""}
                )
            case ["api", "models", "user", "name", "revision", "main"] if hub.there:
                siblings = [{"rfilename": name} for name in hub.files]
                return self._reply({"id": "user/name", "sha": hub.commit, "siblings": siblings})
            case ["api", "models", "user", "name", "tree", *_] if hub.there:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in hub.files.items()
                ]
                return self._reply(tree)
            case ["user", "name", "resolve", _, *names] if "/".join(names) in hub.files:
                return self._send(hub.files["/".join(names)])
        code = "EntryNotFound" if hub.there and path.startswith("/user/name") else "RepoNotFound"
        return self._reply({"error": "not found"}, status=404, code=code)

    @property
    def _host(self) -> str:
        return f"http://{self.headers['Host']}"

    def _reply(self, content: Any, *, status: int = 200, code: str | None = None) -> None:
        self._send(json.dumps(content).encode(), status=status, code=code)

    def _send(self, data: bytes, *, status: int = 200, code: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{_oid(data)}"')
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Discard the log line."""


def _oid(data: bytes) -> str:
    """Return the git blob hash of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
