"""The Hub's wire format over `hub_state`: accounts, repositories, commits, LFS, ranged reads. `hub.py` starts it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.servers.hub_cards import check_card
from tests.servers.hub_state import USER, File, Hub, Refused, Repo
from tests.servers.xet_chunks import chunks

LFS_SUFFIXES = (".parquet", ".safetensors", ".bin", ".gguf", ".arrow", ".zst", ".zip", ".gz")
LFS_FROM_BYTES = 1_000_000
FAULTS = {403: "Request has expired"}
SLOW_S = 0.05

ROUTES: list[tuple[str, re.Pattern[str], Callable]] = []
REPO = r"/api/(?P<kind>model|dataset|space)s/(?P<repo_id>[^/]+/[^/]+)"
GIT = r"/(?:(?P<kind>dataset|space)s/)?(?P<repo_id>[^/]+/[^/]+?)"


def route(methods: str, pattern: str):
    def register(handler):
        ROUTES.extend((method, re.compile(pattern), handler) for method in methods.split())
        return handler

    return register


@route("GET", r"/api/whoami-v2")
async def whoami(hub: Hub, request: Request) -> dict:
    if (role := hub.role(request)) is None:
        raise Refused(401, "Invalid username or password.")
    token = {"displayName": "tests", "role": role, "createdAt": "2025-01-01T00:00:00.000Z"}
    orgs = [{"type": "org", "id": "2", "name": "lab", "fullname": "Lab", "isEnterprise": False, "roleInOrg": "write"}]
    auth = {"type": "access_token", "accessToken": token}
    return {"type": "user", "id": "1", "name": USER, "fullname": "Tester", "orgs": orgs, "auth": auth}


@route("POST", r"/api/repos/create")
async def create_repo(hub: Hub, request: Request) -> Response:
    body, role = await request.json(), hub.role(request)
    kind, repo_id = body.get("type") or "model", f"{body.get('organization') or USER}/{body['name']}"
    hub.must_write(role, repo_id.split("/")[0], kind)
    url = f"{hub.origin}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
    if (kind, repo_id) in hub.repos:
        return JSONResponse({"error": f"You already created this {kind} repo", "url": url}, 409)
    repo = Repo(kind, repo_id, private=body.get("visibility") == "private" or bool(body.get("private")))
    repo.commit("initial commit", {".gitattributes": hub.store(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")})
    hub.repos[kind, repo_id] = repo
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


@route("DELETE", r"/api/repos/delete")
async def delete_repo(hub: Hub, request: Request) -> dict:
    body = await request.json()
    kind, repo_id = body.get("type") or "model", f"{body.get('organization') or USER}/{body['name']}"
    hub.repo(request, kind, repo_id, write=True)
    del hub.repos[kind, repo_id]
    return {}


@route("POST", r"/api/validate-yaml")
async def validate_yaml(hub: Hub, request: Request) -> Response:
    body = await request.json()
    metadata, errors = check_card(body["content"], body.get("repoType") or "model")
    warnings = [] if metadata or errors else [{"message": "empty or missing yaml metadata in repo card"}]
    answer = {"errors": [{"message": message} for message in errors], "warnings": warnings}
    return JSONResponse(answer, 400 if errors else 200)


@route("GET", REPO + r"(?:/revision/(?P<revision>[^/]+))?")
async def repo_info(hub: Hub, request: Request, kind: str, repo_id: str, revision: str = "main") -> dict:
    repo = hub.repo(request, kind, repo_id)
    commit = repo.at(revision)
    siblings = []
    for path, file in sorted(commit.files.items()):
        entry = file.entry(path)
        lfs = {"lfs": {"sha256": file.sha256, "size": file.size, "pointerSize": 130}} if file.lfs else {}
        siblings.append({"rfilename": path, "size": file.size, "blobId": entry["oid"], **lfs})
    readme = commit.files.get("README.md")
    card = check_card(hub.blobs[readme.sha256].decode(), kind)[0] if readme else {}
    tags = [*card.get("tags", []), *(f"license:{card[key]}" for key in ("license",) if isinstance(card.get(key), str))]
    common = {"_id": "1", "id": repo_id, "author": repo_id.split("/")[0], "sha": commit.sha, "private": repo.private}
    times = {"lastModified": commit.date, "createdAt": commit.date}
    counts = {"gated": False, "disabled": False, "downloads": 0, "likes": 0}
    return {**common, **times, **counts, "tags": tags, "cardData": card, "siblings": siblings}


@route("GET", REPO + r"/auth-check(?P<write>/write)?")
async def auth_check(hub: Hub, request: Request, kind: str, repo_id: str, write: str | None = None) -> dict:
    hub.repo(request, kind, repo_id, write=write is not None)
    return {}


@route("GET", REPO + r"/refs")
async def refs(hub: Hub, request: Request, kind: str, repo_id: str) -> dict:
    repo = hub.repo(request, kind, repo_id)

    def listing(names: dict[str, str], prefix: str) -> list[dict]:
        return [{"name": name, "ref": prefix + name, "targetCommit": sha} for name, sha in names.items()]

    branches, tags = listing(repo.branches, "refs/heads/"), listing(repo.tags, "refs/tags/")
    return {"branches": branches, "tags": tags, "converts": [], "pullRequests": []}


@route("GET", REPO + r"/commits/(?P<revision>[^/]+)")
async def commits(hub: Hub, request: Request, kind: str, repo_id: str, revision: str) -> list:
    repo = hub.repo(request, kind, repo_id)
    commit, history = repo.at(revision), []
    while commit:
        author = {"id": commit.sha, "title": commit.title, "message": "", "date": commit.date}
        history.append({**author, "authors": [{"user": USER}]})
        commit = repo.commits.get(commit.parent)
    return history


def folders(files: dict[str, File]) -> set[str]:
    return {path[:at] for path in files for at, char in enumerate(path) if char == "/"}


def folder_entry(path: str) -> dict:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}


@route("GET", REPO + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
async def tree(hub: Hub, request: Request, kind: str, repo_id: str, revision: str, path: str | None = None) -> list:
    files = hub.repo(request, kind, repo_id).at(revision).files
    prefix = path.rstrip("/") + "/" if path else ""
    if prefix and not any(name.startswith(prefix) for name in files):
        raise Refused(404, f"{path} does not exist on {revision}", "EntryNotFound")
    recursive = request.query_params.get("recursive", "").lower() in ("1", "true")
    entries = [folder_entry(name) for name in folders(files)] + [file.entry(name) for name, file in files.items()]
    entries = [entry for entry in entries if entry["path"].startswith(prefix)]
    if not recursive:
        entries = [entry for entry in entries if "/" not in entry["path"][len(prefix) :]]
    return sorted(entries, key=lambda entry: entry["path"])


@route("POST", REPO + r"/paths-info/(?P<revision>[^/]+)")
async def paths_info(hub: Hub, request: Request, kind: str, repo_id: str, revision: str) -> list:
    files = hub.repo(request, kind, repo_id).at(revision).files
    json_body = "json" in request.headers.get("content-type", "")
    paths = (await request.json())["paths"] if json_body else (await request.form()).getlist("paths")
    known = folders(files)
    return [
        files[path].entry(path) if path in files else folder_entry(path)
        for path in paths
        if path in files or path in known
    ]


@route("POST", REPO + r"/preupload/(?P<revision>[^/]+)")
async def preupload(hub: Hub, request: Request, kind: str, repo_id: str, revision: str) -> dict:
    files = hub.repo(request, kind, repo_id, write=True).at(revision).files
    answer = []
    for wanted in (await request.json())["files"]:
        path, present = wanted["path"], files.get(wanted["path"])
        mode = "lfs" if path.endswith(LFS_SUFFIXES) or wanted["size"] >= LFS_FROM_BYTES else "regular"
        oid = (present.sha256 if present.lfs else present.git_oid) if present else None
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **({"oid": oid} if oid else {})})
    return {"files": answer, "commitOid": hub.repos[kind, repo_id].at(revision).sha}


@route("POST", REPO + r"/commit/(?P<revision>[^/]+)")
async def commit(hub: Hub, request: Request, kind: str, repo_id: str, revision: str) -> dict:
    repo = hub.repo(request, kind, repo_id, write=True)
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line]
    header, parent = lines[0]["value"], repo.at(revision)
    if header.get("parentCommit") and not parent.sha.startswith(header["parentCommit"]):
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    files = dict(parent.files)
    for line in lines[1:]:
        value, path = line["value"], line["value"]["path"]
        if line["key"] == "file":
            files[path] = hub.store(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            if value["oid"] not in repo.lfs_objects:
                raise Refused(400, f"LFS object {value['oid']} of {path} was never uploaded")
            stored = hub.store(hub.blobs[value["oid"]])
            files[path] = File(stored.sha256, stored.size, True, stored.git_oid)
        elif line["key"] == "deletedFile":
            if files.pop(path, None) is None:
                raise Refused(400, f"{path} does not exist")
        elif line["key"] == "deletedFolder":
            files = {name: file for name, file in files.items() if not name.startswith(path.rstrip("/") + "/")}
        else:
            raise Refused(400, f"unknown operation {line['key']}")
    new = repo.commit(header["summary"], files, branch=revision)
    url = f"{hub.origin}/{'' if kind == 'model' else kind + 's/'}{repo_id}/commit/{new.sha}"
    return {"success": True, "commitOid": new.sha, "commitUrl": url, "hookOutput": ""}


@route("POST DELETE", REPO + r"/(?P<what>branch|tag)/(?P<name>[^/]+)")
async def branch_or_tag(hub: Hub, request: Request, kind: str, repo_id: str, what: str, name: str) -> dict:
    repo = hub.repo(request, kind, repo_id, write=True)
    names = repo.branches if what == "branch" else repo.tags
    if request.method == "DELETE":
        if names.pop(name, None) is None:
            raise Refused(404, f"{name} does not exist", "RevisionNotFound")
        return {}
    body = await request.json()
    # A tag names its revision in the path and itself in the body; a branch the other way round.
    new, start = (name, body.get("startingPoint") or "main") if what == "branch" else (body["tag"], name)
    if new in names:
        raise Refused(409, f"Reference {new} exists already")
    names[new] = repo.at(start).sha
    return {}


@route("POST", GIT + r"\.git/info/lfs/objects/batch")
async def lfs_batch(hub: Hub, request: Request, repo_id: str, kind: str | None = None) -> dict:
    repo = hub.repo(request, kind or "model", repo_id, write=True)
    objects = []
    for wanted in (await request.json())["objects"]:
        where = f"/_lfs/{repo.kind}/{quote(repo_id, safe='')}/{wanted['oid']}"
        actions = {
            "upload": {"href": f"{hub.storage_origin}{where}?signature=1"},
            "verify": {"href": f"{hub.origin}{where}/verify"},
        }
        objects.append({**wanted, **({} if wanted["oid"] in repo.lfs_objects else {"actions": actions})})
    return {"transfer": "basic", "objects": objects}


@route("PUT GET HEAD", r"/_lfs/(?P<kind>[^/]+)/(?P<repo_id>[^/]+)/(?P<oid>[0-9a-f]{64})")
async def lfs_object(hub: Hub, request: Request, kind: str, repo_id: str, oid: str) -> Response:
    if "authorization" in request.headers or "signature" not in request.query_params:
        raise Refused(400, "Only one auth mechanism allowed: the signature in the query")
    if request.method != "PUT":
        return hub.send(request, hub.blobs[oid], request.query_params["path"], {"ETag": f'"{oid}"'})
    content = await request.body()
    if hashlib.sha256(content).hexdigest() != oid:
        raise Refused(400, "the content does not match its oid")
    hub.blobs[oid] = content
    hub.repos[kind, repo_id].lfs_objects.add(oid)
    return Response(status_code=200)


@route("POST", r"/_lfs/(?P<kind>[^/]+)/(?P<repo_id>[^/]+)/(?P<oid>[0-9a-f]{64})/verify")
async def lfs_verify(hub: Hub, request: Request, kind: str, repo_id: str, oid: str) -> dict:
    if oid not in hub.repo(request, kind, repo_id, write=True).lfs_objects:
        raise Refused(404, "object not found")
    return {}


@route("GET HEAD", GIT + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
async def resolve(
    hub: Hub, request: Request, repo_id: str, revision: str, path: str, kind: str | None = None
) -> Response:
    commit = hub.repo(request, kind or "model", repo_id).at(revision)
    headers = {"X-Repo-Commit": commit.sha}
    if (file := commit.files.get(path)) is None:
        headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
        return Response("Entry not found", 404, headers)
    if not file.lfs:
        return hub.send(request, hub.blobs[file.sha256], path, {**headers, "ETag": f'"{file.git_oid}"'})
    where = f"/_lfs/{kind or 'model'}/{quote(repo_id, safe='')}/{file.sha256}?signature=1&path={quote(path, safe='')}"
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    return Response(status_code=302, headers={**headers, **linked, "Location": hub.storage_origin + where})


@route("POST", r"/_control/fail")
async def control_fail(hub: Hub, request: Request) -> dict:
    hub.failures.append({"count": 1, "method": "", "path": "", "after": False, "headers": {}, **await request.json()})
    return {}


@route("POST", r"/_control/fault")
async def control_fault(hub: Hub, request: Request) -> dict:
    body = json.loads(await request.body())
    hub.fault = body["at"], body["kind"]
    return {}


@route("POST", r"/_control/outage")
async def control_outage(hub: Hub, request: Request) -> dict:
    body = json.loads(await request.body())
    hub.outages.append({"path": "", **body, "until": time.monotonic() + body["seconds"]})
    return {}


@route("POST", r"/_control/reset")
async def control_reset(hub: Hub, request: Request) -> dict:
    hub.reset()
    return {}


@route("GET", r"/_control/stats")
async def control_stats(hub: Hub, request: Request) -> dict:
    return {"requests": hub.requests, "bytes": dict(hub.bytes)}


@route("GET", r"/_control/sent/(?P<kind>[^/]+)/(?P<repo_id>[^/]+/[^/]+)")
async def control_sent(hub: Hub, request: Request, kind: str, repo_id: str) -> dict:
    repo = hub.repos[kind, repo_id]
    head = repo.at("main")
    before = repo.commits[head.parent].files if head.parent else {}
    held = {chunk for file in before.values() if file.lfs for chunk in chunks(hub.blobs[file.sha256])}
    sent = {}
    for path, file in head.files.items():
        content = hub.blobs[file.sha256]
        if file.lfs:
            new = set(chunks(content)) - held
            held |= new
            sent[path] = [sum(map(len, new)), file.size]
        else:
            sent[path] = [0 if before.get(path) == file else file.size, file.size]
    return sent


async def answer(hub: Hub, request: Request, path: str) -> Response:
    """One request: a failure that is due, or the first route that fits."""
    if not path.startswith("/_control") and (status := hub.outage(path)):
        return JSONResponse({"error": f"outage: {status}"}, status)
    due = next(
        (f for f in hub.failures if f["count"] and f["method"] in ("", request.method) and f["path"] in path), None
    )
    if due and path.startswith("/_control"):
        due = None
    if due:
        due["count"] -= 1
        if not due["after"]:
            return JSONResponse({"error": f"injected {due['status']}"}, due["status"], due["headers"])
    for method, pattern, handler in ROUTES:
        if method == request.method and (match := pattern.fullmatch(path)):
            arguments = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
            try:
                result = await handler(hub, request, **arguments)
            except Refused as refused:
                headers = {"X-Error-Message": refused.message}
                headers |= {"X-Error-Code": refused.code} if refused.code else {}
                return JSONResponse({"error": refused.message}, refused.status, headers)
            if due:
                return JSONResponse({"error": f"injected {due['status']}"}, due["status"], due["headers"])
            return result if isinstance(result, Response) else JSONResponse(result)
    return JSONResponse({"error": "Sorry, we can't find the page you are looking for."}, 404)


def make_app(hub: Hub):
    async def app(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        # The raw path: a revision such as refs%2Fpr%2F1 must stay one segment.
        path = scope["raw_path"].decode().split("?")[0]
        kind = None
        if not path.startswith("/_control"):
            kind = hub.fault[1] if hub.fault and hub.fault[0] == hub.seen else None
            hub.seen += 1
        if kind and kind.isdigit():
            await request.body()
            response = JSONResponse({"error": FAULTS.get(int(kind), f"injected {kind}")}, int(kind))
        elif kind != "close":
            response = await answer(hub, request, path)
        if not path.startswith("/_control"):
            hub.requests.append([request.method, unquote(path), 0 if kind == "close" else response.status_code])
        if kind in ("close", "lost"):
            receive.__self__.transport.close()  # uvicorn's own, as ASGI has no word for it
            return
        if kind == "slow":
            await asyncio.sleep(SLOW_S)
        if kind == "flip" and response.body:
            # In JSON a byte that is no text: what is still JSON, and says another thing, nobody can tell.
            text = response.media_type == "application/json"
            at = len(response.body) // 2
            flipped = bytes([response.body[at] ^ (0x80 if text else 0x01)])
            response.body = response.body[:at] + flipped + response.body[at + 1 :]
        if kind == "short" and len(response.body) > 1:
            await send(
                {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
            )
            half = response.body[: len(response.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            receive.__self__.transport.close()
            return
        await response(scope, receive, send)

    return app
