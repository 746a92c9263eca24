"""A model repository on this machine that speaks as the Hugging Face Hub does, over plain LFS."""

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
        files: what lies in it.
        there: whether it has been made.
        private: whether it was made so.
        token: whom it listens to.
        asked: method and path of each request.
        objects: large files on their way, by SHA-256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    there: bool = False
    private: bool | None = None
    token: str = "hf_secret"
    asked: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """What stands for the state of the repository."""
        everything = repr(sorted(self.files.items())).encode()
        return hashlib.sha1(everything).hexdigest()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run it; gives its address."""
        with serving(partial(_Answer, self)) as address:
            yield address


class _Answer(http.server.BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        known = self.headers["Authorization"] == f"Bearer {hub.token}"
        writes = self.command in ("POST", "PUT") and path != "/api/validate-yaml"
        if writes and not known and not path.startswith("/object/"):
            return self._say({"error": "Invalid username or password."}, status=401)
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                hub.there = True
                hub.private = asked.get("visibility") == "private" or asked.get("private") is True
                return self._say({"url": f"{self._host}/user/name", "name": "user/name"})
            case ["api", "validate-yaml"]:
                return self._say({"errors": [], "warnings": []})
            case ["api", "models", "user", "name", "preupload", "main"]:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith("safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self._say({"files": files})
            case ["user", "name.git", "info", "lfs", "objects", "batch"]:
                objects = [
                    {**one, "actions": {"upload": {"href": f"{self._host}/object/{one['oid']}"}}}
                    for one in json.loads(body)["objects"]
                ]
                return self._say({"transfer": "basic", "objects": objects})
            case ["object", oid]:
                assert hashlib.sha256(body).hexdigest() == oid
                hub.objects[oid] = body
                return self._say({})
            case ["api", "models", "user", "name", "commit", "main"]:
                for line in body.splitlines():
                    entry = json.loads(line)
                    value = entry["value"]
                    if entry["key"] == "file":
                        hub.files[value["path"]] = base64.b64decode(value["content"])
                    if entry["key"] == "lfsFile":
                        hub.files[value["path"]] = hub.objects[value["oid"]]
                address = f"{self._host}/user/name/commit/{hub.commit}"
                return self._say({"commitUrl": address, "commitOid": hub.commit, "hookOutput": ""})
            case ["api", "models", "user", "name", "revision", "main"] if hub.there:
                siblings = [{"rfilename": name} for name in hub.files]
                return self._say({"id": "user/name", "sha": hub.commit, "siblings": siblings})
            case ["api", "models", "user", "name", "tree", *_] if hub.there:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in hub.files.items()
                ]
                return self._say(tree)
            case ["user", "name", "resolve", _, *names] if "/".join(names) in hub.files:
                return self._send(hub.files["/".join(names)])
        code = "EntryNotFound" if hub.there and path.startswith("/user/name") else "RepoNotFound"
        return self._say({"error": "not found"}, status=404, code=code)

    @property
    def _host(self) -> str:
        return f"http://{self.headers['Host']}"

    def _say(self, what: Any, *, status: int = 200, code: str | None = None) -> None:
        self._send(json.dumps(what).encode(), status=status, code=code)

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
        """Say nothing."""


def _oid(data: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
