"""A hub on loopback that speaks as much of the protocol of huggingface_hub as downloads and uploads need."""

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Ends of the names of files that the hub keeps elsewhere.
_LARGE = (".safetensors", ".parquet")
COMMIT = hashlib.sha1(b"the only commit").hexdigest()


class HubServer(ThreadingHTTPServer):
    """Serves folders as repositories: of models, of one commit, branch `main` and tag `v1`, and of data sets.

    Args:
      repositories: `owner/name` -> folder.
      gated: those that ask for the token `token`.
      answers: what a request's path contains -> status and headers that it is answered with, and nothing else done;
        status 0: not at all, for as long as the client waits.
      breaks: those whose first transfer of weights or tables ends before its last megabyte.
      broken: those whose every transfer does.
      datasets: `owner/name` -> branch -> folder, each of one commit.

    Attributes:
      once: as `answers`, each for the first such request alone.
      made: repository that was made by the client -> what it asked for.
      pushed: repository -> path -> content, of all commits so far.
      requests: (method, path, Range header) of every request so far.
    """

    daemon_threads = True

    def __init__(
        self,
        repositories: Mapping[str, Path],
        gated: tuple[str, ...] = (),
        answers: Mapping[str, tuple[int, Mapping[str, str]]] = {},
        breaks: tuple[str, ...] = (),
        broken: tuple[str, ...] = (),
        datasets: Mapping[str, Mapping[str, Path]] = {},
    ):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.gated, self.answers = repositories, gated, answers
        self.breaks, self.broken = set(breaks), broken
        self.datasets = datasets
        self.once: dict[str, tuple[int, Mapping[str, str]]] = {}
        self.made: dict[str, dict] = {}
        self.pushed: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody listens at its address for the time of a `with`."""
        self.shutdown()
        self.socket.close()
        yield
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        self.__enter__()

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
        if self._is_answered(path):
            return
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            there = found[1] in self.server.made
            return self._send_json({"id": found[1]}) if there else self._send(404, {"X-Error-Code": "RepoNotFound"})
        if found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(revision|tree)/(.+)", path):
            return self._dataset(*found.groups())
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)", path):
            return self._file(*found.groups())
        if found := re.fullmatch(r"/lfs/([^/]+/[^/]+)/([0-9a-f]+)/(.+)", path):
            return self._lfs(*found.groups())
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if found := re.fullmatch(pattern, path):
                name, *rest = found.groups()
                # As the hub does: what is not there and what may not be seen look alike.
                if name not in self.server.repositories:
                    return self._send(401, {"X-Error-Code": "RepoNotFound"})
                if rest[0] not in ("main", "v1", COMMIT):
                    return self._send(404, {"X-Error-Code": "RevisionNotFound"})
                return answer(name, *rest)
        self._send(404)

    def _is_answered(self, path: str) -> bool:
        """Whether this is one of the server's answers, and is sent."""
        found = [(answers, part) for answers in (self.server.once, self.server.answers) for part in answers]
        answers, part = next(((answers, part) for answers, part in found if part in path), ({}, None))
        answer = answers.pop(part, None) if answers is self.server.once else answers.get(part)
        if answer is not None and answer[0] == 0:
            self.close_connection = not self.rfile.read(1)
        elif answer is not None:
            self._send(*answer)
        return answer is not None

    def _dataset(self, name: str, asked: str, revision: str) -> None:
        branches = self.server.datasets.get(name)
        if branches is None:
            return self._send(401, {"X-Error-Code": "RepoNotFound"})
        branch = next((branch for branch in branches if revision in (branch, commit_of(name, branch))), None)
        if branch is None:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        if asked == "revision":
            return self._send_json({"id": name, "sha": commit_of(name, branch), "siblings": []})
        folder = branches[branch]
        self._send_json([self._entry(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()])

    def _folder(self, name: str, commit: str) -> Path:
        """That of a repository's commit."""
        branches = self.server.datasets.get(name, {})
        of_commit = {commit_of(name, branch): folder for branch, folder in branches.items()}
        return of_commit[commit] if of_commit else self.server.repositories[name]

    def do_PUT(self) -> None:
        content = self._body()
        if not self._is_answered(self.path):
            self.server.objects[self.path.rpartition("/")[2]] = content
            self._send(200)

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        self.server.requests.append((self.command, path, None))
        if self._is_answered(path):
            return
        if path == "/api/validate-yaml":
            known = "license: mit\n" in json.loads(body)["content"]
            errors = [] if known else [{"message": '"license" must be one of [mit]'}]
            return self._send_json({"errors": errors, "warnings": []}, 200 if known else 400)
        if self.headers.get("Authorization") != "Bearer token":
            return self._send(401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 409 if name in self.server.made else 200
            self.server.made.setdefault(name, asked)
            return self._send_json({"url": f"{self.server.url}/{name}"}, status)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path):
            return {"preupload": self._preupload, "commit": self._commit}[found[2]](found[1], body)
        if re.fullmatch(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body)["objects"])
        self._send(404)

    def _preupload(self, name: str, body: bytes) -> None:
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith((".safetensors", ".png")) else "regular" for path in paths}
        self._send_json(
            {"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes.items()]}
        )

    def _batch(self, asked: list[dict]) -> None:
        actions = [{"upload": {"href": f"{self.server.url}/put/{one['oid']}"}} for one in asked]
        objects = [one | {"actions": action} for one, action in zip(asked, actions, strict=True)]
        self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.server.objects[value["oid"]]
            else:
                continue
            self.server.pushed.setdefault(name, {})[value["path"]] = content
        self._send_json({"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _info(self, name: str, revision: str) -> None:
        self._send_json({"id": name, "sha": COMMIT, "siblings": []})

    def _tree(self, name: str, revision: str) -> None:
        folder = self.server.repositories[name]
        self._send_json([self._entry(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()])

    def _entry(self, path: Path, folder: Path) -> dict:
        size = path.stat().st_size
        entry = {"type": "file", "path": path.relative_to(folder).as_posix(), "size": size, "oid": _sha(path, "sha1")}
        if path.suffix in _LARGE:
            entry["lfs"] = {"oid": _sha(path, "sha256"), "size": size, "pointerSize": 134}
        return entry

    def _resolve(self, name: str, revision: str, file: str) -> None:
        self._file(name, COMMIT, file)

    def _file(self, name: str, commit: str, file: str) -> None:
        if name in self.server.gated and self.headers.get("Authorization") != "Bearer token":
            return self._send(401, {"X-Error-Code": "GatedRepo"})
        path = self._folder(name, commit) / file
        if not path.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        if path.suffix in _LARGE:
            # To another host, as the hub does: the client asks redirects within one host for the file's name.
            linked = {"X-Linked-Etag": f'"{_sha(path, "sha256")}"', "X-Linked-Size": str(path.stat().st_size)}
            elsewhere = f"http://localhost:{self.server.server_port}/lfs/{name}/{commit}/{file}"
            return self._send(302, linked | {"X-Repo-Commit": commit, "Location": elsewhere})
        self._send(200, {"X-Repo-Commit": commit, "ETag": f'"{_sha(path, "sha1")}"'}, path.read_bytes())

    def _lfs(self, name: str, commit: str, file: str) -> None:
        content = (self._folder(name, commit) / file).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        breaks = self.command == "GET" and name in {*self.server.breaks, *self.server.broken}
        self.server.breaks -= {name} if breaks else set()
        sent = max(0, len(content) - 2**20 - start) if breaks else None
        self._send(206 if asked else 200, headers, content[start:], sent)

    def _send_json(self, value: object, status: int = 200) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"", sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True


def commit_of(name: str, branch: str) -> str:
    """The commit that a branch of a data set is at."""
    return hashlib.sha1(f"{name}@{branch}".encode()).hexdigest()


def _sha(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()
