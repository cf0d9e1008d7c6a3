"""A hub on this machine: what huggingface_hub and datasets ask of the real one over HTTP, answered from memory.

Every request is kept. The server is also the proxy for all other hosts, so that what would leave the machine ends here.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_stub"
LARGE = (".npz", ".onnx", ".parquet")  # what the real hub keeps by its .gitattributes in LFS


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repo:
    """A repository of one branch: its files now, and the name of its last commit."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(b"%d" % self.commits + b"".join(self.files.values())).hexdigest()

    def entry(self, path: str) -> dict:
        data = self.files[path]
        found = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
        if path.endswith(LARGE):
            found["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
        return found

    def tree(self, folder: str, *, recursive: bool) -> list[dict]:
        """The files and folders below a folder, "" for the root."""
        start = f"{folder}/" if folder else ""
        inside = [path for path in self.files if path.startswith(start)]
        parents = [path[: at.start()] for path in inside for at in re.finditer("/", path) if at.start() > len(start)]
        folders = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in dict.fromkeys(parents)]
        found = folders + [self.entry(path) for path in inside]
        return [each for each in found if recursive or "/" not in each["path"][len(start) :]]


class Refusal(Exception):
    """An answer that is no success: status, the hub's code for it, its sentence, and what else its JSON holds."""

    def __init__(self, status: int, code: str, message: str, **more):
        super().__init__(message)
        self.status, self.code, self.more = status, code, more


class Hub:
    """repos by (kind, "owner/name"), kind models or datasets; requests as (method, path), foreign as (method, url)."""

    def __init__(self):
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.foreign: list[tuple[str, str]] = []
        self.agents: set[str] = set()
        self.url = ""

    def add(self, kind: str, name: str, files: dict[str, bytes]) -> Repo:
        repo = self.repos[kind, name] = Repo(files)
        return repo

    def environment(self, home) -> dict[str, str]:
        """What a process needs to know this hub and no other; home is its cache, token and settings."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",  # large files go by LFS, which is plain HTTP
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.url),
            "NO_PROXY": "127.0.0.1",
        }

    # --- what the real one answers

    def repo(self, kind: str, name: str, token: str) -> Repo:
        if (kind, name) in self.repos:
            return self.repos[kind, name]
        if token != TOKEN:  # the real one does not tell strangers what there is
            raise Refusal(401, "", "Invalid username or password.")
        raise Refusal(404, "RepoNotFound", "Repository not found")

    def create(self, body: dict) -> dict:
        kind, name = f"{body.get('type') or 'model'}s", f"{body['organization']}/{body['name']}"
        if body["organization"] != "owner":
            raise Refusal(403, "", "You don't have the rights to create a model under this namespace")
        if (kind, name) in self.repos:
            raise Refusal(409, "", f"You already created this {kind[:-1]} repo", url=f"{self.url}/{name}")
        self.add(kind, name, {})
        return {"name": name, "url": f"{self.url}/{name}"}

    def preupload(self, repo: Repo, body: dict) -> dict:
        def mode(path: str) -> str:
            return "lfs" if path.endswith(LARGE) else "regular"

        def oid(path: str) -> str | None:
            return git_oid(repo.files[path]) if path in repo.files else None

        paths = [each["path"] for each in body["files"]]
        return {"files": [{"path": p, "uploadMode": mode(p), "shouldIgnore": False, "oid": oid(p)} for p in paths]}

    def batch(self, body: dict) -> dict:
        def action(each: dict) -> dict:
            upload = {"upload": {"href": f"{self.url}/lfs/{each['oid']}", "header": {}}}
            return each if each["oid"] in self.blobs else {**each, "actions": upload}

        return {"transfer": "basic", "objects": [action(each) for each in body["objects"]]}

    def commit(self, repo: Repo, name: str, lines: list[dict]) -> dict:
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                repo.files[value["path"]] = self.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
            else:
                assert (line["key"], value["encoding"]) == ("file", "base64")
                repo.files[value["path"]] = base64.b64decode(value["content"])
        repo.commits += 1
        return {"success": True, "commitOid": repo.sha, "commitUrl": f"{self.url}/{name}/commit/{repo.sha}"}

    def info(self, kind: str, name: str, repo: Repo) -> dict:
        siblings = [{"rfilename": path} for path in repo.files]
        about = {"id": name, "sha": repo.sha, "private": False, "tags": [], "downloads": 0, "likes": 0}
        return {**about, "modelId": name, "siblings": siblings} if kind == "models" else {**about, "siblings": siblings}

    def api(self, method: str, path: str, query: dict, body: bytes, token: str) -> dict | list:
        """An /api/... request -> what is answered as JSON."""
        if method == "POST" and token != TOKEN and "/paths-info/" not in path:
            raise Refusal(401, "", "Invalid username or password.")
        if path == "/api/whoami-v2":
            return {"type": "user", "name": "owner", "orgs": [], "auth": {"type": "access_token"}}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return validated(json.loads(body)["content"])
        found = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)/([^/]+)/?(.*))?", path)
        if not found:
            raise Refusal(404, "", f"No such page: {path}")
        kind, name, what, revision, rest = found.groups()
        repo = self.repo(kind, name, token)
        if revision not in (None, "main", repo.sha):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "tree":
            return self.listed(repo, rest, query)
        if what == "paths-info":
            wanted = parse_qs(body.decode())["paths"]
            every = repo.tree("", recursive=True)
            return [each for each in every if each["path"] in wanted]
        if what == "preupload":
            return self.preupload(repo, json.loads(body))
        if what == "commit":
            return self.commit(repo, name, [json.loads(line) for line in body.splitlines()])
        return self.info(kind, name, repo)

    def listed(self, repo: Repo, folder: str, query: dict) -> list[dict]:
        found = repo.tree(folder, recursive=query.get("recursive", ["false"])[0].lower() in ("true", "1"))
        if folder and not found:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on main")
        return found


def validated(card: str) -> dict:
    """The real one's checks of a card's metadata that concern ours; a fault is said as there."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    if not found:
        return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
    metadata = yaml.safe_load(found[1])
    lists = [name for name in ("tags", "metrics", "datasets") if not isinstance(metadata.get(name, []), list)]
    words = [name for name in ("library_name", "pipeline_tag") if not isinstance(metadata.get(name, ""), str)]
    faults = [{"message": f'"{name}" is of a wrong kind'} for name in lists + words]
    if faults:
        raise Refusal(400, "", json.dumps(faults))
    return {"errors": [], "warnings": []}


class Handler(BaseHTTPRequestHandler):
    """One request; the server's hub answers it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self) -> None:
        hub: Hub = self.server.hub
        url = urlsplit(self.path)
        body = self.body()
        if self.command == "CONNECT" or url.scheme:
            hub.foreign.append((self.command, self.path))
            return self.send(502, b"this proxy leads nowhere")
        hub.requests.append((self.command, self.path))
        hub.agents.add(self.headers.get("User-Agent", ""))
        path, query = unquote(url.path), parse_qs(url.query)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            if path.startswith("/api/"):
                self.send_json(200, hub.api(self.command, path, query, body, token))
            elif path.endswith(".git/info/lfs/objects/batch"):
                self.send_json(200, hub.batch(json.loads(body)))
            elif path.startswith("/lfs/"):
                hub.blobs[path.removeprefix("/lfs/")] = body
                self.send(200)
            else:
                self.resolve(hub, path, token)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": str(refusal)}
            headers = {name: value for name, value in headers.items() if value}
            self.send_json(refusal.status, {"error": str(refusal), **refusal.more}, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = answer

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def resolve(self, hub: Hub, path: str, token: str) -> None:
        """A file, as /owner/name/resolve/revision/path or /datasets/owner/name/..."""
        found = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not found:
            raise Refusal(404, "", f"No such page: {path}")
        kind, name, revision, file = found.groups()
        repo = hub.repo(kind or "models", name, token)
        headers = {"X-Repo-Commit": repo.sha}
        if revision not in ("main", repo.sha):
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in repo.files:
            error = {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.send(404, b"Entry not found", error)
        data = repo.files[file]
        headers["ETag"] = f'"{sha256(data) if file.endswith(LARGE) else git_oid(data)}"'
        if file.endswith(LARGE):
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.send(206, data[first : last + 1], headers)
        self.send(200, data, headers)

    def send(self, status: int, data: bytes = b"", headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_json(self, status: int, value: dict | list, headers: dict | None = None) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a process that ends hangs up
            super().handle_error(request, client_address)


@contextmanager
def running(hub: Hub):
    """The hub answers at a free port of this machine until the block ends."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.hub = hub
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
