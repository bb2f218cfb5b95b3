"""A client that is sent on to the storage for what it downloads."""

from __future__ import annotations

import urllib.error
import urllib.request
from base64 import b64encode
from email.message import Message

from werkzeug.test import Client, TestResponse

DATA = bytes(n * 31 % 251 for n in range(100_000))


def uploaded(client: Client, data: bytes = DATA, **metadata: str) -> str:
    pairs = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in metadata.items())
    fields = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(data)), "Upload-Metadata": pairs}
    if data:
        fields["Content-Type"] = "application/offset+octet-stream"
    made = client.post("/", headers=fields, data=data)
    assert made.status_code == 201
    return made.headers["Location"]


def redirected(client: Client, url: str, **headers: str) -> TestResponse:
    answer = client.get(url, headers=headers)
    assert (answer.status_code, answer.data) == (307, b"")
    return answer


def fetch(url: str, **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.headers, exc.read()
