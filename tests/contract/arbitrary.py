"""What may come to the stores: values of which any may follow any other."""

from datetime import datetime, timedelta

from hypothesis import strategies as st

from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    SeenCall,
    TranscriptEntry,
)
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Leg, Mode, Phase, Role
from actors.messages import DeliveryStatus
from tests.contract.stores import NOW, TEMPLATE, VOICE_AGENT

# A number is known by itself, from calls; with a user id of WhatsApp's; and with another person's after it was given
# to somebody else.
PEOPLE = [
    ("+525512345678",),
    ("MX.1A", "+525512345678"),
    ("MX.2B", "+525512345678"),
    ("MX.1A",),
    ("MX.2B",),
    ("+573001112233",),
    ("CO.3C", "+573001112233"),
    ("MX.1A", "+573001112233"),
]
CALL_IDS = ["conv_1", "conv_2", "conv_3"]

which = st.integers(0, 7)
call_ids = st.sampled_from(CALL_IDS)
people = st.sampled_from(PEOPLE)
names = st.sampled_from(["Ana", "Beto", "", None])
templates = st.sampled_from([TEMPLATE, None])
pieces = st.lists(st.sampled_from(["Hola.", "Claro que sí.", "a\0b \ud83d"]), max_size=3)
moments = st.sampled_from([timedelta(), timedelta(seconds=5), timedelta(hours=2)])
outcomes = st.none() | st.sampled_from(CallOutcome)
origins = st.sampled_from([None, "1", "2"])
sightings = st.builds(
    SeenCall,
    id=call_ids,
    sighting=st.sampled_from(CallSighting),
    agent_id=st.sampled_from([None, VOICE_AGENT]),
    phone_number=st.sampled_from([None, "+525512345678", "+573001112233"]),
    outcome=outcomes,
    batch_id=origins,
    recipient_id=origins,
    variables=st.sampled_from([{}, {"name": "Ana"}, {"plan": {"n": 1}}]),
)
analyses = st.none() | st.builds(
    CallAnalysis,
    summary=st.sampled_from(["", "Quiere el plan anual."]),
    title=st.sampled_from([None, "Plan"]),
    collected=st.sampled_from([{}, {"sentiment": "good", "n": 1.5}]),
)
details = st.builds(
    CallDetails,
    id=call_ids,
    agent_id=st.just(VOICE_AGENT),
    is_over=st.just(True),
    outcome=st.sampled_from(CallOutcome),
    phone_number=st.sampled_from([None, "", "+525512345678"]),
    direction=st.sampled_from([None, "outbound"]),
    started_at=st.integers(0, 3).map(lambda hours: NOW - timedelta(hours=hours)),
    duration_s=st.integers(0, 90),
    transcript=st.lists(
        st.builds(
            TranscriptEntry,
            role=st.just("user"),
            text=st.sampled_from(["Hola", "x" * 1500]),
            offset_s=st.just(1),
        ),
        max_size=3,
    ),
    analysis=analyses,
    variables=st.sampled_from([{}, {"name": "Ana"}]),
    batch_id=origins,
    recipient_id=origins,
)


ends = st.sampled_from(["accepted", "accepted", "accepted-again", "refused", "released", "nobody knows"])
reports = st.tuples(
    st.none() | st.sampled_from(DeliveryStatus),
    st.sampled_from([None, 63016, 63016, 63049, 30008, 21610]),
    st.sampled_from(["", "", "", "-again"]),
    st.booleans(),
)


incoming_calls = st.builds(
    IncomingCall,
    call_sid=st.sampled_from(["CA1", "CA2"]),
    caller=st.sampled_from([None, "+525512345678", "+573001112233"]),
    dialled=st.sampled_from([None, "+525550001111"]),
)
call_states = st.builds(
    CallState,
    mode=st.sampled_from(Mode),
    phase=st.sampled_from(Phase),
    legs=st.sampled_from([(), (Leg(ordinal=1, role=Role.ADVISOR, advisor="Beto"),)]),
    reason=st.sampled_from(["", "Cotización"]),
)
endings = st.sampled_from(Ending)
notes = st.sampled_from(["", "Habló con Beto.", "Dejó un mensaje.", "a\0b \ud83d"])
recording_sids = st.sampled_from(["RE1", "RE2", "RE3"])


def sighting_of(found: CallDetails) -> SeenCall:
    return SeenCall(id=found.id, sighting=CallSighting.WEBHOOK)


def batch_of(batch_id: str, recipients: list[str | None], *, updated_at: datetime) -> Batch:
    summary = BatchSummary(
        id=batch_id,
        name="Mayo",
        agent_id=VOICE_AGENT,
        status="completed",
        is_over=True,
        created_at=NOW,
        updated_at=updated_at,
    )
    return Batch(
        summary=summary,
        recipients=[
            BatchRecipient(id=recipient or "0", phone_number=None, status="", outcome=None, call_id=None)
            for recipient in recipients
        ],
    )
