"""The admin listener's door on real sockets: tokens, sessions, forgery, guessing, and what the pages show."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from attrs import evolve
from structlog.testing import capture_logs

from actors.live_call.state import Phase
from actors.overview import ConversationTimeline, Interaction, InteractionType, LiveCallSummary
from daemon.web.admin.wording import NAMES
from tests.integration.admin import ANA, TOKEN, AdminDaemon, closed, serving_admin

BEARER = {"Authorization": f"Bearer {TOKEN}"}
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
ROUTES = [
    ("GET", "/admin"),
    ("GET", "/admin/status"),
    ("GET", "/admin/conversations"),
    ("POST", "/admin/conversations/find"),
    ("GET", "/admin/conversations/7"),
    ("POST", "/admin/conversations/7/close"),
    ("POST", "/admin/conversations/parked/17/release"),
    ("GET", "/admin/batches/newest"),
    ("GET", "/admin/batches/btcal_1"),
    ("POST", "/admin/batches/btcal_1/process"),
    ("POST", "/admin/sign-out"),
]
RELEASE = "/admin/conversations/parked/17/release"


@pytest.fixture
def daemon() -> AdminDaemon:
    return AdminDaemon(parked=[17])


@pytest.fixture
async def http(daemon: AdminDaemon) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_admin(daemon) as (http, server):
        yield http
        assert server.crashes == 0


async def sign_in(http: httpx.AsyncClient, token: str = TOKEN, **headers: str) -> httpx.Response:
    return await http.post("/admin/sign-in", data={"token": token}, headers={**BROWSER, **headers})


async def csrf_token(http: httpx.AsyncClient) -> str:
    page = (await http.get("/admin", headers=BROWSER)).text
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


# --- With the token itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic x"}, {"Cookie": "relevo_admin=forged"}])
async def test_nothing_is_told_or_done_without_token_or_session(
    http: httpx.AsyncClient, daemon: AdminDaemon, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = await http.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (daemon.parked, daemon.closed) == ([17], [])


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_token_opens_every_route_without_more(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await http.request(method, path, headers=BEARER)
    assert answer.status_code not in {401, 403, 429}


async def test_health_needs_no_token(http: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await http.get(path)).status_code == 200


async def test_metrics_need_a_token_from_beyond_this_machine(http: httpx.AsyncClient) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert (await http.get("/metrics", headers=forwarded)).status_code == 401
    assert (await http.get("/metrics", headers=forwarded | BEARER)).status_code == 200


# --- Sessions -----------------------------------------------------------------------------------------------


async def test_a_browser_without_session_is_led_to_the_sign_in_page(http: httpx.AsyncClient) -> None:
    answer = await http.get("/admin", headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/sign-in")
    page = await http.get("/admin/sign-in", headers=BROWSER)
    assert page.status_code == 200
    assert 'type="password"' in page.text
    assert (await http.get("/admin/static/admin.css")).headers["Content-Type"].startswith("text/css")


async def test_signing_in_opens_a_session_whose_cookie_is_kept_from_scripts_and_other_sites(
    http: httpx.AsyncClient,
) -> None:
    answer = await sign_in(http)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin")
    cookie = answer.headers["Set-Cookie"]
    assert TOKEN not in cookie
    assert {"HttpOnly", "Path=/admin", "SameSite=Strict", "Max-Age=43200"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert (await http.get("/admin/status")).status_code == 200
    assert (await http.get("/admin/sign-in")).headers["Location"] == "/admin"


@pytest.mark.parametrize(
    "headers",
    [{"Host": "relevo.example.com"}, {"X-Forwarded-Proto": "https"}, {"Host": "127.0.0.1.evil.com"}],
)
async def test_beyond_plain_loopback_the_cookie_wants_tls(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert "Secure" in (await sign_in(http, **headers)).headers["Set-Cookie"].split("; ")


async def test_a_wrong_token_opens_none(http: httpx.AsyncClient) -> None:
    for token in ("wrong", "", "ñ" * 20, TOKEN[:-1], TOKEN + "x"):
        async with serving_admin(AdminDaemon()) as (other, _):
            answer = await sign_in(other, token)
            assert answer.status_code == 401
            assert "El token no es correcto" in answer.text
            assert "Set-Cookie" not in answer.headers
            assert not token or token not in answer.text


async def test_signing_out_ends_the_session_even_for_a_copied_cookie(http: httpx.AsyncClient) -> None:
    cookie = (await sign_in(http)).headers["Set-Cookie"].partition(";")[0]
    token = await csrf_token(http)
    answer = await http.post("/admin/sign-out", data={"csrf_token": token}, headers=BROWSER)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/sign-in")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert (await http.get("/admin/status", headers={"Cookie": cookie})).status_code == 401


async def test_a_session_ends_by_itself(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    await sign_in(http)
    daemon.now_s += 12 * 3600 + 1
    assert (await http.get("/admin/status")).status_code == 401


# --- Forgery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"csrf_token": ""}, {"csrf_token": "0" * 64}, {"csrf_token": "ñ"}])
async def test_a_change_in_a_session_needs_the_sessions_token(
    http: httpx.AsyncClient, daemon: AdminDaemon, given: dict[str, str]
) -> None:
    await sign_in(http)
    assert (await http.post(RELEASE, data=given)).status_code in {403, 415}
    header = {b"X-CSRF-Token": given.get("csrf_token", "").encode()}
    assert (await http.post(RELEASE, headers=header)).status_code == 403
    assert daemon.parked == [17]


async def test_another_sessions_token_does_not_count(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    await sign_in(http)
    others = await csrf_token(http)
    http.cookies.clear()
    await sign_in(http)
    assert (await http.post(RELEASE, headers={"X-CSRF-Token": others})).status_code == 403
    assert daemon.parked == [17]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_changes_nothing_even_with_the_token(
    http: httpx.AsyncClient, daemon: AdminDaemon, headers: dict[str, str]
) -> None:
    assert (await sign_in(http, **headers)).status_code == 403
    await sign_in(http)
    token = await csrf_token(http)
    answer = await http.post(RELEASE, data={"csrf_token": token}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")
    assert daemon.parked == [17]


async def test_the_pages_own_forms_work(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    daemon.overview.timeline = ConversationTimeline(summary=ANA, person_uuid=UUID(int=1), interactions=[])
    await sign_in(http)
    token = await csrf_token(http)
    own = {**BROWSER, "Origin": str(http.base_url), "Sec-Fetch-Site": "same-origin"}
    for path in (RELEASE, "/admin/conversations/7/close"):
        answer = await http.post(path, data={"csrf_token": token}, headers=own)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/admin")
    assert (daemon.parked, daemon.closed) == ([], [17])


async def test_a_program_with_a_session_sends_the_token_as_a_header(
    http: httpx.AsyncClient, daemon: AdminDaemon
) -> None:
    await sign_in(http)
    token = await csrf_token(http)
    for released in (True, False):
        answer = await http.post(RELEASE, headers={"X-CSRF-Token": token})
        assert answer.json() == {"released": released}
    find = await http.post(
        "/admin/conversations/find", json={"phone": "+57 300 123 9155"}, headers={"X-CSRF-Token": token}
    )
    assert find.json()["id"] == 7


async def test_a_form_that_is_no_small_form_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post("/admin/sign-in", json={"token": TOKEN})).status_code == 415
    assert (await http.post("/admin/sign-in", data={"token": "x" * 5000})).status_code == 413
    many = "&".join(f"a{n}=1" for n in range(500))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await http.post("/admin/sign-in", content=many, headers=form)).status_code == 400
    assert (await http.post("/admin/sign-in", content=b"token=\xff", headers=form)).status_code == 400


async def test_a_token_in_the_url_is_worth_nothing(http: httpx.AsyncClient) -> None:
    assert (await http.get("/admin/status", params={"token": TOKEN})).status_code == 401
    assert (await http.post("/admin/sign-in", params={"token": TOKEN}, data={"x": "y"})).status_code == 401


# --- Guessing -----------------------------------------------------------------------------------------------

EVE = {"X-Forwarded-For": "203.0.113.9"}


async def guess(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await http.get("/admin/status", headers={"Authorization": "Bearer guessed-token", **headers})


async def test_guessing_is_locked_for_growing_times_and_raises_an_alert(
    http: httpx.AsyncClient, daemon: AdminDaemon
) -> None:
    with capture_logs() as logs:
        assert [(await guess(http, **EVE)).status_code for _ in range(5)] == [401, 401, 429, 429, 429]
    assert (await guess(http, **EVE)).headers["Retry-After"] == "30"
    assert [alert.key for alert in daemon.alerts.standing] == ["admin_guessing"]
    assert [log["event"] for log in logs].count("wrong admin token") == 3
    assert "guessed-token" not in str(logs) + str(daemon.alerts.standing)
    # Even the right one is not looked at.
    assert (await http.get("/admin/status", headers=EVE | BEARER)).status_code == 429
    daemon.now_s += 30
    assert (await guess(http, **EVE)).headers["Retry-After"] == "60"


async def test_the_sign_in_page_says_how_long_to_wait(http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await sign_in(http, "wrong", **EVE)
    answer = await sign_in(http, "wrong", **EVE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert "Espere 30 segundos" in answer.text


async def test_others_sessions_and_this_machine_go_on_while_somebody_is_locked(
    http: httpx.AsyncClient, daemon: AdminDaemon
) -> None:
    cookie = (await sign_in(http, **EVE)).headers["Set-Cookie"].partition(";")[0]
    http.cookies.clear()
    for _ in range(10):
        await guess(http, **EVE)
        await guess(http)
    assert (await guess(http)).status_code == 429
    assert (await http.get("/admin/status", headers=BEARER)).status_code == 200
    other = BEARER | {"X-Forwarded-For": "198.51.100.7"}
    assert (await http.get("/admin/status", headers=other)).status_code == 200
    assert (await http.get("/admin/status", headers=EVE | {"Cookie": cookie})).status_code == 200


async def test_the_alert_ends_with_the_guessing(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    for _ in range(3):
        await guess(http, **EVE)
    daemon.now_s += 30 + 900
    assert (await http.get("/admin/status", headers=BEARER)).json()["alerts"] == []


# --- What the pages show, and what every answer says ----------------------------------------------------------


async def test_the_page_shows_what_goes_on(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    daemon.alerts.raise_alert("outbox", "no answer for +573001239155 <script>alert(1)</script>")
    daemon.overview.summaries.append(evolve(closed(ANA), name="Nadie"))
    page = (await http.get("/admin", headers=BEARER)).text
    for shown in (
        "en servicio",
        "Ana &lt;b&gt;María&lt;/b&gt;",
        "+57•••9155",
        "Persona 17",
        "Reintentar ahora",
    ):
        assert shown in page
    for hidden in ("3001239155", "<script", "Nadie", TOKEN):
        assert hidden not in page


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 conversaciones en"), (1, "1 conversación en"), (3, "3 conversaciones en")]
)
async def test_the_page_counts_conversations_in_spanish(
    http: httpx.AsyncClient, daemon: AdminDaemon, count: int, shown: str
) -> None:
    daemon.in_memory = count
    assert shown in (await http.get("/admin", headers=BEARER)).text


async def test_the_page_calls_a_stopped_watcher_bad_only_while_it_serves(
    http: httpx.AsyncClient, daemon: AdminDaemon
) -> None:
    stopped = '<li class="mark bad">mensajes perdidos: detenido</li>'
    assert stopped in (await http.get("/admin", headers=BEARER)).text
    daemon.phase = "draining"
    page = (await http.get("/admin", headers=BEARER)).text
    assert '<li class="mark ">mensajes perdidos: ya terminó</li>' in page


@pytest.mark.parametrize(
    ("phone", "sentence"),
    [
        ("Ana", "such as +57"),
        ("3001234567", "such as +57"),
        ("+57 300 000 0000", "no telephone has this number"),
    ],
)
async def test_a_number_that_names_nobody_is_told_why(
    http: httpx.AsyncClient, phone: str, sentence: str
) -> None:
    answer = await http.post("/admin/conversations/find", json={"phone": phone}, headers=BEARER)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "phone")
    assert sentence in answer.json()["error"]["message"]


async def test_the_page_shows_the_calls_that_go_on(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    assert "Llamadas en curso" in (await http.get("/admin", headers=BEARER)).text

    daemon.overview.calls.append(
        LiveCallSummary(
            id=1,
            started_at=datetime(2026, 5, 4, 12, 29, tzinfo=UTC),
            phase=Phase.TRANSFERRING,
            caller="+573001239155",
            advisor="Jesús <i>Ñ.</i>",
            duration_s=65,
        )
    )
    daemon.overview.calls.append(
        evolve(daemon.overview.calls[0], phase=Phase.WITH_AGENT, caller=None, advisor=None, duration_s=3_601)
    )
    page = (await http.get("/admin", headers=BEARER)).text

    for shown in (
        "+57•••9155",
        "llamando a un asesor",
        "Jesús &lt;i&gt;Ñ.&lt;/i&gt;",
        "04/05 12:29",
        "1:05",
        "con el agente",
        "60:01",
        "Mensajes de voz por recoger: 2.",
    ):
        assert shown in page
    assert "3001239155" not in page
    status = (await http.get("/admin/status", headers=BEARER)).json()
    assert status["calls"] == {"live": 2, "unfinished_recordings": 2}


def test_every_phase_of_a_call_has_a_name() -> None:
    assert NAMES["call_phases"].keys() == set(Phase)


async def test_the_page_stands_without_a_database(http: httpx.AsyncClient, daemon: AdminDaemon) -> None:
    daemon.overview.is_up = False
    page = await http.get("/admin", headers=BEARER)
    assert page.status_code == 200
    assert "La base de datos no responde" in page.text


async def test_every_answer_carries_the_security_headers(http: httpx.AsyncClient) -> None:
    await sign_in(http)
    answers = [
        await http.get("/livez"),
        await http.get("/nowhere"),
        await http.put("/admin/status"),
        await http.get("/admin/status"),
        await http.get("/admin"),
        await http.get("/admin/static/admin.css"),
        await http.get("/admin", headers={"Cookie": "", **BROWSER}),
        await http.get("/", headers={"X": "x" * 20_000}),
        await http.get("/", headers={"Transfer-Encoding": "chunked", "Content-Length": "3"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 405, 200, 200, 200, 303, 431, 400]
    for answer in answers:
        headers = answer.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] in {"no-referrer", "same-origin"}
        assert "Server" not in headers
        assert all(len(headers.get_list(name)) == 1 for name in headers)


async def test_a_pages_policy_allows_its_own_style_and_no_script(http: httpx.AsyncClient) -> None:
    page = await http.get("/admin/sign-in")
    policy = page.headers["Content-Security-Policy"]
    assert "style-src 'self'" in policy
    assert "script" not in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script|style=|\son\w+=|https?://", page.text)


async def test_a_timeline_shows_what_was_said_but_no_number(
    http: httpx.AsyncClient, daemon: AdminDaemon
) -> None:
    metadata: dict[str, Any] = {
        "collected": {"telefono": "300 123 9155", "otro": ["+57 301 555 0000"], "fecha": "2026-05-04"},
        "error_detail": "no route to whatsapp:+573001239155",
        "error_code": 63016,
        "call_id": "conv_573001239155",
    }
    said = Interaction(
        type=InteractionType.WHATSAPP,
        at=datetime(2026, 5, 4, tzinfo=UTC),
        platform="twilio",
        external_id="SM1",
        content="Mi número es 300-123 91 55, pedido 4500123456",
        metadata=metadata,
    )
    daemon.overview.timeline = ConversationTimeline(summary=ANA, person_uuid=UUID(int=1), interactions=[said])
    shown = (await http.get("/admin/conversations/7", headers=BEARER)).json()["interactions"][0]
    assert shown["content"] == "Mi número es •••9155, pedido 4500123456"
    assert shown["metadata"] == {
        "collected": {"telefono": "•••9155", "otro": ["+57•••0000"], "fecha": "2026-05-04"},
        "error_detail": "no route to whatsapp:+57•••9155",
        "error_code": 63016,
        "call_id": "conv_573001239155",
    }
