"""`/Calls`, their streams and what was recorded of them (Twilio OpenAPI: api_v2010)."""

from typing import Final

from attrs import define
from quart import Blueprint, Response

from daemon.lab.twilio.errors import RestError, not_found
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply
from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg, Program
from daemon.lab.twilio.voice.ordering import (
    read_callback,
    read_fetch,
    read_order,
    read_program,
    time_filter,
    whole,
)
from daemon.lab.twilio.voice.streams import MediaStream, StreamOrder, start_stream
from daemon.lab.twilio.whatsapp.messages import rfc2822

PARAMETERS_MAX: Final = 99


@define(eq=False)
class CallRoutes:
    """What the routes do; each is a plain function of the request."""

    ground: Ground
    exchange: Exchange

    def create(self, asked: Asked) -> Reply:
        account = self.ground.account
        program = read_program(asked.form, account)
        if program is None:
            raise RestError(400, 21205)
        leg = self.exchange.dial(read_order(asked.form, account, program))
        return Reply(status=201, body=leg.call.as_resource(account.sid))

    def list(self, asked: Asked) -> Reply:
        query = asked.query
        wanted = {
            "to": query.get("To"),
            "from": query.get("From"),
            "status": query.get("Status"),
            "parent_call_sid": query.get("ParentCallSid"),
        }
        started, ended = time_filter(query, "StartTime"), time_filter(query, "EndTime")
        now_s = self.ground.now_s
        found = []
        for leg in reversed(self.exchange.legs.values()):
            call = leg.call
            if call.listed_from_s > now_s or not (started(call.started_at) and ended(call.ended_at)):
                continue
            shown = call.as_resource(self.ground.account.sid)
            if all(value in {None, shown[name]} for name, value in wanted.items()):
                found.append((call.ordinal, shown))
        return page(asked, "calls", found, ordinal=lambda place: place[0], show=lambda place: place[1])

    def fetch(self, asked: Asked, sid: str) -> Reply:
        return self._shown(self._leg(asked, sid))

    def update(self, asked: Asked, sid: str) -> Reply:
        leg, form = self._leg(asked, sid), asked.form
        status = form.get("Status")
        program = read_program(form, self.ground.account)
        if status is not None and not leg.answered.is_set() and self.ground.strikes("picks_up_first"):
            self.exchange.answer(leg)
        if leg.call.over:
            raise RestError(400, 21220)
        leg.call.callback = read_callback(form) or leg.call.callback
        leg.fallback = read_fetch(form, "Fallback") or leg.fallback
        if form.get("TimeLimit"):
            limit_s = whole(form, "TimeLimit", 14_400, 1, 86_400)
            self.ground.schedule.after(limit_s, lambda: self.exchange.hang_up(leg))
        if status is not None:
            self._end(leg, status)
        elif program is not None:
            if not leg.live:
                raise RestError(400, 21220)
            self._redirect(leg, program)
        return self._shown(leg)

    def delete(self, asked: Asked, sid: str) -> Reply:
        leg = self._leg(asked, sid)
        if not leg.call.over:
            raise RestError(409, 20009, "The call cannot be deleted before it is over")
        del self.exchange.legs[sid]
        return Reply(status=204)

    def start_stream(self, asked: Asked, sid: str) -> Reply:
        leg, form = self._leg(asked, sid), asked.form
        if not leg.live:
            raise RestError(400, 21220)
        track = form.get("Track") or "inbound_track"
        order = StreamOrder(
            url=form.get("Url") or "",
            name=form.get("Name"),
            tracks=("inbound", "outbound") if track == "both_tracks" else (track.removesuffix("_track"),),
            parameters={
                form.get(f"Parameter{n}.Name") or "": form.get(f"Parameter{n}.Value") or ""
                for n in range(1, PARAMETERS_MAX + 1)
                if form.get(f"Parameter{n}.Name")
            },
            status_url=form.get("StatusCallback"),
            status_method=form.get("StatusCallbackMethod") or "POST",
        )
        stream = MediaStream(self.ground, self.exchange, leg, order)
        start_stream(self.ground, stream)
        return Reply(body=self._stream(stream, "in-progress"))

    def stop_stream(self, asked: Asked, sid: str, key: str) -> Reply:
        leg = self._leg(asked, sid)
        stream = next((stream for stream in leg.streams if key in {stream.sid, stream.name}), None)
        if stream is None:
            raise not_found(asked.path)
        if asked.form.get("Status") != "stopped":
            raise RestError(400, 20001, "Invalid Status")
        stream.stop()
        return Reply(body=self._stream(stream, "stopped"))

    def _redirect(self, leg: Leg, program: Program) -> None:
        def redirect() -> None:
            if leg.live:
                self.exchange.redirect(leg, program)

        late_s = self.ground.strikes_s("redirect_late", 2.0, text=leg.number)
        if late_s is None:
            redirect()
        else:
            self.ground.schedule.after(late_s, redirect)

    def _end(self, leg: Leg, status: str) -> None:
        if status == "completed":
            self.exchange.hang_up(leg)
        elif status != "canceled":
            raise RestError(400, 20001, "Invalid Status")
        elif leg.answered.is_set():
            raise RestError(400, 21220, "Unable to update record. Call is in-progress. Cannot cancel.")
        else:
            self.exchange.end(leg, CallStatus.CANCELED)

    def _shown(self, leg: Leg) -> Reply:
        return Reply(body=leg.call.as_resource(self.ground.account.sid))

    def _stream(self, stream: MediaStream, status: str) -> dict[str, str | None]:
        sid, call_sid = self.ground.account.sid, stream.leg.sid
        return {
            "account_sid": sid,
            "call_sid": call_sid,
            "date_updated": rfc2822(self.ground.clock.now()),
            "name": stream.order.name,
            "sid": stream.sid,
            "status": status,
            "uri": f"/2010-04-01/Accounts/{sid}/Calls/{call_sid}/Streams/{stream.sid}.json",
        }

    def _leg(self, asked: Asked, sid: str) -> Leg:
        leg = self.exchange.legs.get(sid)
        if leg is None:
            raise not_found(asked.path)
        return leg


def call_blueprint(edge: Edge, routes: CallRoutes) -> Blueprint:
    blueprint = Blueprint("calls", __name__)
    calls = "/2010-04-01/Accounts/<account_sid>/Calls"

    @blueprint.post(f"{calls}.json")
    async def create(account_sid: str) -> Response:
        return await edge.answer("call.create", account_sid, routes.create)

    @blueprint.get(f"{calls}.json")
    async def list_calls(account_sid: str) -> Response:
        return await edge.answer("call.list", account_sid, routes.list)

    @blueprint.get(f"{calls}/<sid>.json")
    async def fetch(account_sid: str, sid: str) -> Response:
        return await edge.answer("call.fetch", account_sid, lambda asked: routes.fetch(asked, sid))

    @blueprint.post(f"{calls}/<sid>.json")
    async def update(account_sid: str, sid: str) -> Response:
        return await edge.answer("call.update", account_sid, lambda asked: routes.update(asked, sid))

    @blueprint.delete(f"{calls}/<sid>.json")
    async def delete(account_sid: str, sid: str) -> Response:
        return await edge.answer("call.delete", account_sid, lambda asked: routes.delete(asked, sid))

    @blueprint.post(f"{calls}/<sid>/Streams.json")
    async def start_stream(account_sid: str, sid: str) -> Response:
        return await edge.answer("stream.create", account_sid, lambda asked: routes.start_stream(asked, sid))

    @blueprint.post(f"{calls}/<sid>/Streams/<key>.json")
    async def stop_stream(account_sid: str, sid: str, key: str) -> Response:
        return await edge.answer(
            "stream.update", account_sid, lambda asked: routes.stop_stream(asked, sid, key)
        )

    return blueprint
