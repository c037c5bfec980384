"""Requests to an application in this process, without a network."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

JSON = {"content-type": "application/json"}


def ask(application: Any, body: bytes, headers: dict[str, str] | None = None, piece: int = 2**16) -> tuple[int, bytes]:
    """Status and text of the answer to a POST of /invocations, the body of which comes in pieces."""
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]
    answered, status = bytearray(), 0

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.sleep(60)  # the client waits
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        answered.extend(message.get("body", b""))

    given = [(name.encode(), value.encode()) for name, value in (JSON if headers is None else headers).items()]
    scope = dict[str, Any](type="http", http_version="1.1", method="POST", path="/invocations", scheme="http")
    scope |= {"raw_path": b"/invocations", "query_string": b"", "root_path": "", "headers": given}
    asyncio.run(application(scope, receive, send))
    return status, bytes(answered)


def request(inputs: Any, **params: Any) -> bytes:
    return json.dumps({"inputs": inputs, **({"params": params} if params else {})}).encode()
