"""What the Hub stand-in holds: repositories, commits, files, the bytes it has sent and the failures still due."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

TOKENS = {"hf_write": "write", "hf_read": "read"}
USER, WRITABLE = "tester", {"tester", "lab"}


@dataclass(frozen=True)
class File:
    sha256: str
    size: int
    lfs: bool
    git_oid: str

    def entry(self, path: str) -> dict:
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 130}} if self.lfs else {}
        return {"type": "file", "path": path, "size": self.size, "oid": self.git_oid, **lfs}


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    title: str
    files: dict[str, File]
    date: str


@dataclass
class Repo:
    kind: str
    id: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs_objects: set[str] = field(default_factory=set)

    def commit(self, title: str, files: dict[str, File], branch: str = "main") -> Commit:
        parent = self.branches.get(branch)
        identity = json.dumps([parent, title, len(self.commits), sorted((p, f.sha256) for p, f in files.items())])
        sha = hashlib.sha1(identity.encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, title, files, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        self.branches[branch] = sha
        return self.commits[sha]

    def at(self, revision: str) -> Commit:
        revision = revision.removeprefix("refs/heads/")
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Hub:
    """The whole state. One event loop runs every request to its next await, so nothing here needs a lock."""

    def __init__(self, origin: str, storage_origin: str) -> None:
        self.origin, self.storage_origin = origin, storage_origin
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.reset()

    def reset(self) -> None:
        self.failures: list[dict] = []
        self.outages: list[dict] = []
        self.requests: list[list] = []
        self.fault: tuple[int, str] | None = None
        self.seen = 0
        self.bytes: Counter[str] = Counter()

    def outage(self, path: str) -> int | None:
        """The status that a request to this path gets while an outage lasts, each of its statuses in turn."""
        for outage in self.outages:
            if outage["path"] in path and time.monotonic() < outage["until"]:
                outage["statuses"].append(status := outage["statuses"].pop(0))
                return status
        return None

    # ---- who may do what -------------------------------------------------------------------------------------------

    @staticmethod
    def role(request: Request) -> str | None:
        header = request.headers.get("authorization")
        if header is None:
            return None
        if (role := TOKENS.get(header.removeprefix("Bearer "))) is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return role

    def repo(self, request: Request, kind: str, repo_id: str, write: bool = False) -> Repo:
        role, found = self.role(request), self.repos.get((kind, repo_id))
        if found is None or (found.private and role is None):
            raise Refused(404 if role else 401, "Repository not found", "RepoNotFound")
        if write:
            self.must_write(role, repo_id.split("/")[0], kind)
        return found

    @staticmethod
    def must_write(role: str | None, namespace: str, kind: str) -> None:
        if role is None:
            raise Refused(401, "Invalid username or password.")
        if role == "read" or namespace not in WRITABLE:
            raise Refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')

    # ---- storage ---------------------------------------------------------------------------------------------------

    def store(self, content: bytes) -> File:
        sha = hashlib.sha256(content).hexdigest()
        self.blobs[sha] = content
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return File(sha, len(content), False, git)

    def send(self, request: Request, content: bytes, counted_as: str, headers: dict[str, str]) -> Response:
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        status, body = 200, content
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "")):
            first, last = match.groups()
            start = int(first) if first else max(0, len(content) - int(last))
            stop = min(int(last) + 1, len(content)) if first and last else len(content)
            if start >= len(content):
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
            status, body = 206, content[start:stop]
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        headers["Content-Length"] = str(len(body))
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        self.bytes[counted_as] += len(body)
        return Response(body, status, headers)
