"""The public application: its routes, and one shape for everything that goes wrong."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from quart import Response, g, jsonify, request
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from daemon.web.exchange import Application
from daemon.web.problem import HttpError

_log = structlog.get_logger(__name__)


class Routes(Protocol):
    def register(self, app: QuartTrio) -> None: ...


CountRequest = Callable[[str, int, float], None]
"""Told of each request: its route's pattern, the status, the seconds."""


def make_app(
    name: str, routes: Sequence[Routes], *, max_body_bytes: int, request_timeout_s: float, count: CountRequest
) -> QuartTrio:
    """An application of these routes.

    Problems come as `{"error": {"code", "message"}}` with their status. A body of more than `max_body_bytes`
    is never read, whatever a route allows.
    """
    app = Application(name, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.config["BODY_TIMEOUT"] = request_timeout_s
    app.config["RESPONSE_TIMEOUT"] = request_timeout_s
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.register_error_handler(HttpError, _on_problem)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(Exception, _on_crash)
    for group in routes:
        group.register(app)

    # Hooks and error handlers are coroutines: Quart runs plain functions in a thread, which costs more than most
    # requests do.
    @app.before_request
    async def begin() -> None:
        g.began_at = time.perf_counter()

    @app.after_request
    async def end(response: Response) -> Response:
        # The pattern, never the path: a label must not grow with what strangers ask for.
        route = request.url_rule.rule if request.url_rule is not None else "other"
        count(route, response.status_code, time.perf_counter() - g.began_at)
        return response

    return app


async def _on_problem(problem: HttpError) -> ResponseReturnValue:
    return jsonify(problem.body), problem.status, dict(problem.headers)


async def _on_http_exception(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    response = jsonify({"error": {"code": error.name.lower().replace(" ", "_"), "message": error.name}})
    response.status_code = status
    for key, value in error.get_headers():
        if key == "Allow":
            response.headers[key] = value
    return response


async def _on_crash(error: Exception) -> ResponseReturnValue:
    _log.exception("request crashed", exc_info=error)
    return jsonify({"error": {"code": "internal", "message": "internal error"}}), 500
