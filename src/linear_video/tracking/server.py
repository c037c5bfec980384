"""A trained model over HTTP: ``python -m linear_video.tracking.server <folder, or runs:/<run>/model>``.

Its requests and answers are those of ``mlflow models serve``, but it runs no code from beside the model. It answers
anything that it cannot use with status 400 and one line.
"""

import argparse
import json
import threading
from collections.abc import Iterator

import numpy as np
import uvicorn
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import linear_video
from linear_video.common.errors import InputError
from linear_video.tasks.trained import TrainedModel
from linear_video.tracking.requests import answer, most_body, read_request


def application(trained: TrainedModel) -> Starlette:
    """The application that answers requests, one at a time, since memory is bounded for a single request."""
    alone = threading.Lock()

    def predicted(body: bytes) -> NDArray[np.uint8]:
        with alone:
            return answer(trained, *read_request(body))

    async def invocations(request: Request) -> Response:
        try:
            frames = await run_in_threadpool(predicted, await _body(request))
        except InputError as error:
            return JSONResponse({"error": " ".join(str(error).split())}, 400)
        return StreamingResponse(_as_json(frames), media_type="application/json")

    async def ping(request: Request) -> Response:
        return Response("\n")

    return Starlette(routes=[Route("/invocations", invocations, methods=["POST"]), Route("/ping", ping)])


async def _body(request: Request) -> bytes:
    """The text of a request.

    Raises:
        InputError: if it is too long, or not declared as JSON.
    """
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip().lower() != "application/json":
        raise InputError(f"the request must have the header Content-Type: application/json, not {kind[:40]!r}.")
    most, body = most_body(), bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise InputError(f"the request has more than {most:,} bytes; give fewer or smaller frames.")
    return bytes(body)


def _as_json(frames: NDArray[np.uint8]) -> Iterator[str]:
    """Encode frames as JSON one by one, since lists of numbers take a hundred times their memory."""
    yield '{"predictions": ['
    for number, frame in enumerate(frames):
        yield (", " if number else "") + json.dumps(frame.tolist())
    yield "]}"


def main() -> None:
    """Load the model named on the command line, and answer requests until stopped."""
    parser = argparse.ArgumentParser(description="Serve a trained model over HTTP.")
    parser.add_argument("model", help="folder of a trained model, or where MLflow keeps one: runs:/<run>/model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    arguments = parser.parse_args()
    try:
        trained = linear_video.load(arguments.model)
    except InputError as error:
        parser.exit(1, f"Error: {error}\n")
    uvicorn.run(application(trained), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
