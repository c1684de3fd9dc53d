"""A hub on loopback that speaks as much of the protocol of huggingface_hub as downloads need."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"the only commit").hexdigest()


class HubServer(ThreadingHTTPServer):
    """Serves folders as model repositories of one commit, branch `main` and tag `v1`; used in a `with`.

    Args:
      repositories: `owner/name` -> folder.
      gated: those that ask for the token `token`.
      closed: those that are forbidden to everybody.
      breaks: those whose first transfer of weights ends before its last megabyte.

    Attributes:
      requests: (method, path, Range header) of every request so far.
    """

    daemon_threads = True

    def __init__(
        self,
        repositories: Mapping[str, Path],
        gated: tuple[str, ...] = (),
        closed: tuple[str, ...] = (),
        breaks: tuple[str, ...] = (),
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.gated, self.closed, self.breaks = repositories, gated, closed, set(breaks)
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
            (r"/lfs/([^/]+/[^/]+)/(.+)", self._lfs),
        ):
            if found := re.fullmatch(pattern, path):
                name, *rest = found.groups()
                if name in self.server.closed:
                    return self._send(403)
                # As the hub does: what is not there and what may not be seen look alike.
                if name not in self.server.repositories:
                    return self._send(401, {"X-Error-Code": "RepoNotFound"})
                if answer != self._lfs and rest[0] not in ("main", "v1", COMMIT):
                    return self._send(404, {"X-Error-Code": "RevisionNotFound"})
                return answer(name, *rest)
        self._send(404)

    def _info(self, name: str, revision: str) -> None:
        self._send_json({"id": name, "sha": COMMIT, "siblings": []})

    def _tree(self, name: str, revision: str) -> None:
        folder = self.server.repositories[name]
        self._send_json([self._entry(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()])

    def _entry(self, path: Path, folder: Path) -> dict:
        size = path.stat().st_size
        entry = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": size, "oid": _sha(path, "sha1")}
        if path.suffix == ".safetensors":
            entry["lfs"] = {"oid": _sha(path, "sha256"), "size": size, "pointerSize": 134}
        return entry

    def _resolve(self, name: str, revision: str, file: str) -> None:
        if name in self.server.gated and self.headers.get("Authorization") != "Bearer token":
            return self._send(401, {"X-Error-Code": "GatedRepo"})
        path = self.server.repositories[name] / file
        if not path.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        if path.suffix == ".safetensors":
            # To another host, as the hub does: the client asks redirects within one host for the file's name.
            linked = {"X-Linked-Etag": f'"{_sha(path, "sha256")}"', "X-Linked-Size": str(path.stat().st_size)}
            return self._send(
                302,
                linked
                | {
                    "X-Repo-Commit": COMMIT,
                    "Location": f"http://localhost:{self.server.server_port}/lfs/{name}/{file}",
                },
            )
        self._send(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha(path, "sha1")}"'}, path.read_bytes())

    def _lfs(self, name: str, file: str) -> None:
        content = (self.server.repositories[name] / file).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        broken = self.command == "GET" and name in self.server.breaks
        self.server.breaks -= {name} if broken else set()
        self._send(206 if asked else 200, headers, content[start:], sent=len(content) - 2**20 if broken else None)

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"", sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True


def _sha(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()
