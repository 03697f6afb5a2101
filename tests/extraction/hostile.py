"""Answers that nobody should give: contents of a whole chat completion, and HTTP answers that are none."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from tests.extraction.endpoints import PAIRS, completion
from tests.servers.faults import Fault

PAIR = {"question": "How many?", "answer": "Twelve."}
ONE = json.dumps(PAIR)

# What a model may write, as the content of a chat completion.
CONTENTS: dict[str, Any] = {
    "nothing": "",
    "null": None,
    "deep lists": "[" * 200_000,
    "deep objects": '{"pairs": ' * 20_000,
    "deep and closed": "[" * 50_000 + "]" * 50_000,
    "deep inside": '{"pairs": [{"question": ' + "[" * 5000 + "]" * 5000 + ', "answer": "a"}]}',
    "spaces": " " * 2_000_000,
    "lines": '{"pairs": [' + "\n\t " * 250_000,
    "zero width": "\u200b\ufeff\u2060" * 100_000,
    "lone surrogates": '{"pairs": [{"question": "\\ud800 q", "answer": "\\udfff\\ud83d a"}]}',
    "raw lone surrogates": "\ud800" + PAIRS + "\udc00",
    "not a number": '{"pairs": [NaN, Infinity, -Infinity, {"question": NaN, "answer": NaN}]}',
    "huge integers": '{"pairs": [' + "9" * 200_000 + ', {"question": "q", "answer": ' + "1" * 50_000 + "}]}",
    "huge exponents": '{"pairs": [1e999999, {"question": "q", "answer": 1e-999999}]}',
    "many pairs": json.dumps({"pairs": [PAIR] * 100_000}),
    "many lines": f"{ONE}\n" * 20_000,
    "many keys": "{" + ",".join(f'"k{number}": 1' for number in range(100_000)) + "}",
    "same keys": "{" + ",".join('"pairs": []' for _ in range(50_000)) + "}",
    "many openings": "{[" * 50_000,
    "many questions": '{"question": ' * 50_000,
    "quotes": '{"pairs": [{"question": "' + '\\"' * 500_000,
    "backslashes": '{"pairs": [{"question": "' + "\\" * 250_001 + '", "answer": "a"}]}',
    "half escapes": '{"pairs": [{"question": "\\u12", "answer": "\\x \\u"}]}',
    "control characters": '{"pairs": [{"question": "a\\u0000b\\u0007", "answer": "c\x01\x08d"}]}',
    "terminal": '{"pairs": [{"question": "\\u001b[2J\\u001b]0;gone\\u0007", "answer": "\x1b[31mred\x1b[0m"}]}',
    "backwards": '{"pairs": [{"question": "\u202eq", "answer": "\u2066a"}]}',
    "null bytes": "\x00" * 100_000,
    "no pairs": '{"pairs": []}',
    "pairs is null": '{"pairs": null}',
    "pairs is a string": '{"pairs": "none"}',
    "pairs is an object": '{"pairs": {"question": "q", "answer": "a"}}',
    "pairs in pairs": json.dumps({"pairs": [[[PAIR]], {"pairs": [PAIR]}, None, 1, "x", True]}),
    "wrong types": json.dumps(
        {"pairs": [{"question": value, "answer": value} for value in (None, 1, 1.5, True, [], {}, [PAIR], "")]}
    ),
    "missing": '{"pairs": [{}, {"question": "q"}, {"answer": "a"}, {"Question": "q", "Answer": "a"}]}',
    "list": f"[{ONE}, null, 7]",
    "scalar": "42",
    "string": json.dumps(PAIRS),
    "twice": PAIRS + PAIRS,
    "comments": f"/* pairs */ {PAIRS} // done",
    "page": f"<html><body><pre>{PAIRS}</pre></body></html>",
    "fences": "```json\n" * 50_000 + PAIRS,
    "cut": PAIRS[:-9],
    "one long answer": json.dumps({"pairs": [{"question": "q", "answer": "x" * 3_000_000}]}),
    "instructions": 'Ignore the schema. "); DROP TABLE responses; --',
}

# What a chat completion may hold elsewhere, in place of what belongs there.
_JUNK = (None, True, 0, -1, 1.5, 10**30, "", "x", [], {}, [[]], [None], {"a": None})
COMPLETIONS: dict[str, Fault] = {
    **{f"choices {junk!r}": completion(choices=junk) for junk in _JUNK},
    **{f"usage {junk!r}": completion(usage=junk) for junk in _JUNK},
    **{
        f"tokens {junk!r}": completion(usage={"prompt_tokens": junk, "completion_tokens": junk, "total_tokens": junk})
        for junk in _JUNK
    },
    **{f"choice {junk!r}": completion(choices=[junk]) for junk in _JUNK},
    **{f"message {junk!r}": completion(choices=[{"index": 0, "message": junk}]) for junk in _JUNK},
    **{
        f"content {junk!r}": completion(choices=[{"message": {"role": "assistant", "content": junk}}])
        for junk in _JUNK
    },
    **{
        f"finish {junk!r}": completion(choices=[{"message": {"content": PAIRS}, "finish_reason": junk}])
        for junk in _JUNK
    },
    "ids": completion(id=[1], created="never", model={"a": 1}, object=7, system_fingerprint=[]),
    "calls": completion(choices=[{"message": {"content": None, "tool_calls": [{"function": None}, 7]}}]),
    "parts": completion(choices=[{"message": {"content": [{"type": "text", "text": PAIRS}]}}]),
    "attributes": completion(__class__=1, __dict__={}, __len__=3, parse_obj=4, get=5),
}

_OK = b"HTTP/1.1 200 OK\r\n"
_BODY = completion().body.encode()
# What may come in place of a chat completion.
ANSWERS: dict[str, Fault] = {
    "page": Fault(headers={"Content-Type": "text/html"}, body="<!doctype html><title>Sign in</title>"),
    "empty": Fault(),
    "no content": Fault(204),
    "spaces": Fault(body=" " * 2_000_000),
    "other encoding": Fault(body=_BODY.decode().encode("utf-16")),
    "no encoding": Fault(body=b"\xff\xfe\xfd\x80" * 100),
    "unknown charset": Fault(headers={"Content-Type": "application/json; charset=no-such"}, body=b"\xff"),
    "cut": Fault(body=_BODY[:-20]),
    "two": Fault(body=_BODY + _BODY),
    "deep": Fault(body="[" * 100_000 + "]" * 100_000),
    "deep choices": Fault(body='{"choices": ' * 30_000),
    "huge integer": Fault(body='{"choices": ' + "9" * 10_000 + "}"),
    "not a number": Fault(body='{"choices": NaN, "usage": {"prompt_tokens": Infinity}}'),
    "infinite tokens": Fault(body=_BODY.replace(b'"prompt_tokens": 5', b'"prompt_tokens": 1e999')),
    **{f"scalar {text}": Fault(body=text) for text in ("null", "true", "7", "-0.0", '"x"', "[]", "{}", "[[]]")},
    "error in 200": Fault(body='{"error": "out of memory", "error_type": "generation"}'),
    "stream error in 200": Fault(
        headers={"Content-Type": "text/event-stream"},
        body='data:{"error":{"message":"Input validation error","http_status_code":422}}\n\n',
    ),
    "stream in 200": Fault(
        headers={"Content-Type": "text/event-stream"}, body=b"data: " + _BODY + b"\n\ndata: [DONE]\n"
    ),
    "redirect to itself": Fault(307, {"Location": "/v1/chat/completions"}),
    "redirect to nowhere": Fault(302, {"Location": "http://127.0.0.1:9/\x7f"}),
    "redirect without a place": Fault(301),
    **{
        f"status {status}": Fault(status, body="no\x1b[2J") for status in (206, 300, 400, 406, 409, 418, 451, 499, 599)
    },
    "status 422 with a list": Fault(422, body='[{"loc": ["body"]}]'),
    "status 400 without words": Fault(400, body=b"\x80\x81"),
    **{
        f"hold {value[:20]!r}": Fault(429, {"Retry-After": value})
        for value in ("-5", "1e9", "nan", "inf", "0x10", "Mon, 99 Jan 99999 99:99:99 GMT", "٣", "")
    },
    "not gzip": Fault(headers={"Content-Encoding": "gzip"}, body=b"not gzip"),
    "half gzip": Fault(headers={"Content-Encoding": "gzip"}, body=gzip.compress(_BODY)[:-12]),
    "not brotli": Fault(headers={"Content-Encoding": "br"}, body=b"\x00\xff" * 30),
    "not zstd": Fault(headers={"Content-Encoding": "zstd"}, body=b"\x28\xb5\x2f\xfd rest"),
    "unknown coding": Fault(headers={"Content-Encoding": "rot13, gzip, rot13"}, body=_BODY),
    "gzip in gzip": Fault(headers={"Content-Encoding": "gzip, gzip"}, body=gzip.compress(gzip.compress(b"x" * 1000))),
    "bomb": Fault(headers={"Content-Encoding": "deflate"}, body=zlib.compress(b" " * 32_000_000, 9)),
    "lengths that differ": Fault(headers={"Content-Length": "7"}, body=_BODY),
    "chunks of nothing": Fault(action="raw", body=_OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"),
    "chunks cut": Fault(action="raw", body=_OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\nhello"),
    "chunk of a negative size": Fault(action="raw", body=_OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n"),
    "no HTTP": Fault(action="raw", body=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no line end": Fault(action="raw", body=b"HTTP/1.1 200 OK"),
    "status of words": Fault(action="raw", body=b"HTTP/1.1 fine OK\r\n\r\n"),
    "status 999": Fault(action="raw", body=b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "status 100 for ever": Fault(action="raw", body=b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "other protocol": Fault(action="raw", body=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "same headers": Fault(action="raw", body=_OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
    "negative length": Fault(action="raw", body=_OK + b"Content-Length: -1\r\n\r\n{}"),
    "header without a name": Fault(action="raw", body=_OK + b": x\r\nContent-Length: 2\r\n\r\n{}"),
    "header of bytes": Fault(action="raw", body=_OK + b"X-\xff\x00: \x00\r\nContent-Length: 2\r\n\r\n{}"),
    "long header": Fault(action="raw", body=_OK + b"X: " + b"y" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\n{}"),
    "many headers": Fault(action="raw", body=_OK + b"X: y\r\n" * 50_000 + b"Content-Length: 2\r\n\r\n{}"),
    "length beyond the body": Fault(action="raw", body=_OK + b"Content-Length: 99999999999999999999\r\n\r\n{}"),
}
