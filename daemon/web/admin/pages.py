"""The operator's pages: signing in and out, and what the daemon is doing, drawn here and without a script."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from quart import Response, request
from quart_trio import QuartTrio

from actors.overview import Overview
from actors.ports import StoreUnavailableError
from daemon.web.admin.guard import PAGE, SIGN_IN, AdminGuard, read_form, require_same_origin
from daemon.web.admin.shapes import live_call_json, page_json, status_json
from daemon.web.admin.wording import NAMES, clock, moment, since
from daemon.web.headers import PAGE_HEADERS
from daemon.web.problem import HttpError

CONVERSATIONS_MAX = 50
REFRESH_S = 10

_HERE = Path(__file__).parent


@frozen(kw_only=True)
class AdminPages:
    """What the pages work with.

    Attributes:
        status: the status as JSON values.
        parked: persons whose conversation crashed too often.
    """

    guard: AdminGuard
    status: Callable[[], Awaitable[Mapping[str, object]]]
    overview: Overview
    parked: Callable[[], Sequence[int]]
    _templates: Environment = field(init=False)
    _style: bytes = field(init=False, repr=False)

    @_templates.default
    def _make_templates(self) -> Environment:
        templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.globals.update(clock=clock, moment=moment, since=since, **NAMES)
        return templates

    @_style.default
    def _read_style(self) -> bytes:
        return (_HERE / "static" / "admin.css").read_bytes()

    def register(self, app: QuartTrio) -> None:
        app.add_url_rule(PAGE, view_func=self.show_page, methods=["GET"])
        app.add_url_rule(SIGN_IN, view_func=self.show_sign_in, methods=["GET"])
        app.add_url_rule(SIGN_IN, view_func=self.sign_in, methods=["POST"])
        app.add_url_rule("/admin/sign-out", view_func=self.sign_out, methods=["POST"])
        app.add_url_rule("/admin/static/admin.css", view_func=self.show_style, methods=["GET"])

    async def show_page(self) -> Response:
        session = await self.guard.check(request)
        status = status_json(await self.status())
        return self._render(
            "admin.html",
            refresh_s=REFRESH_S,
            status=status,
            watchers=_watchers(status),
            parked=self.parked(),
            live_calls=await self._live_calls(),
            conversations=await self._conversations(),
            csrf_token=session.csrf_token if session is not None else "",
        )

    async def show_sign_in(self) -> Response:
        if self.guard.session_of(request) is not None:
            return _to(PAGE)
        return self._render("sign_in.html", problem="")

    async def sign_in(self) -> Response:
        """A session for who knows the admin token, which is in the body and never in a URL."""
        require_same_origin(request)
        token = (await read_form(request)).get("token", "").strip()
        try:
            self.guard.check_token(request, token)
        except HttpError as refusal:
            answer = self._render("sign_in.html", problem=_in_spanish(refusal))
            answer.status_code = refusal.status
            answer.headers.update(refusal.headers)
            return answer
        return self.guard.seal(_to(PAGE), request, cookie=self.guard.sessions.open())

    async def sign_out(self) -> Response:
        session = await self.guard.check(request)
        if session is not None:
            self.guard.sessions.sign_out(session)
        return self.guard.seal(_to(SIGN_IN), request, cookie=None)

    async def show_style(self) -> Response:
        return Response(self._style, content_type="text/css; charset=utf-8")

    async def _live_calls(self) -> Sequence[Mapping[str, Any]] | None:
        """Those that go on; None while the database is out of reach."""
        try:
            return [live_call_json(call) for call in await self.overview.live_calls()]
        except StoreUnavailableError:
            return None

    async def _conversations(self) -> Sequence[Mapping[str, Any]] | None:
        """The open ones among the newest; None while the database is out of reach."""
        try:
            page = await self.overview.conversations(None, limit=CONVERSATIONS_MAX)
        except StoreUnavailableError:
            return None
        return [shown for shown in page_json(page)["conversations"] if shown["status"] != "closed"]

    def _render(self, template: str, **values: object) -> Response:
        page = self._templates.get_template(template).render(values)
        return Response(page, content_type="text/html; charset=utf-8", headers=dict(PAGE_HEADERS))


def _watchers(status: Mapping[str, Any]) -> Mapping[str, bool]:
    """Whether each part that is to run does."""
    actors = status["actors"].items()
    return {name: state["alive"] for name, state in actors if isinstance(state, dict) and "alive" in state}


def _in_spanish(refusal: HttpError) -> str:
    if refusal.status == 429:
        wait_s = int(refusal.headers["Retry-After"])
        wait = f"{wait_s} segundos" if wait_s <= 90 else f"{round(wait_s / 60)} minutos"
        return f"Demasiados intentos. Espere {wait} e inténtelo de nuevo."
    return "El token no es correcto."


def _to(path: str) -> Response:
    return Response(b"", status=303, headers={"Location": path})
