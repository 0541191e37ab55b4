"""The web server of the playground, which answers only requests with its random token."""

import contextlib
import dataclasses
import http
import io
import secrets
import socket
from collections.abc import Iterator
from typing import Any

from onebody.core.errors import OnebodyError
from onebody.runs import extras


def check(host: str, port: int) -> None:
    """Raises OnebodyError if the extra `play` is not installed, or the host or port is wrong."""
    for module in ("viser", "mjviser"):
        extras.check(module, "play", "onebody play")
    if not 0 < port < 2**16:
        raise OnebodyError(f"--port must be from 1 to 65535, not {port}")
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as error:
        raise OnebodyError(f"--host {host} is not an address of this machine ({error.strerror})") from error


def start(host: str, port: int, title: str) -> tuple[Any, str]:
    """Serve an empty page, and return the `viser.ViserServer` and the page's address.

    A connection without the random token in this address gets nothing, so that other users of this machine, and other
    pages in the browser, cannot move the robot.

    Args:
        host: address of this machine that the page is served on.
        port: the next free one is taken if another program uses it.
    """
    import viser

    token = secrets.token_urlsafe(16)
    with _behind(token), contextlib.redirect_stdout(io.StringIO()):  # its own note of the address
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    return server, f"http://{host}:{server.get_port()}/{token}"


@contextlib.contextmanager
def _behind(token: str) -> Iterator[None]:
    """viser's server, if it starts meanwhile, sees only requests, also for websockets, whose path begins with a token.

    viser has no option for this, so the function of `websockets` that it starts by is replaced meanwhile.

    Raises:
        RuntimeError: on exit, if no server was started in this way.
    """
    from websockets.asyncio import server
    from websockets.datastructures import Headers
    from websockets.http11 import Request, Response

    serve, started = server.serve, []

    def guarded(*arguments: Any, process_request: Any, **options: Any) -> Any:
        def process(connection: Any, request: Request) -> Response | None:
            first, _, rest = request.path.partition("?")[0].removeprefix("/").partition("/")
            if not secrets.compare_digest(first.encode(), token.encode()):
                return Response(http.HTTPStatus.NOT_FOUND, "Not Found", Headers({"Content-Length": "0"}))
            return process_request(connection, dataclasses.replace(request, path=f"/{rest}"))

        started.append(True)
        return serve(*arguments, process_request=process, **options)

    server.serve = guarded
    try:
        yield
    finally:
        server.serve = serve
    if not started:
        raise RuntimeError("viser did not start by websockets.asyncio.server.serve, so its page would be open to all")
