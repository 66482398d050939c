"""A caller and an agent in a conference of the simulated Twilio, on paper: what several suites begin with."""

from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.mulaw import tone, wav
from tests.contract.lab_twilio_voice import APP, PAPER, Paper, Told

EVENTS = "start end join leave mute hold modify announcement"
ROOM = (
    "<Dial action='/after'><Conference beep='false' startConferenceOnEnter='true' endConferenceOnExit='true' "
    "participantLabel='caller' waitUrl='/wait' waitMethod='GET' statusCallback='/events' "
    f"statusCallbackEvent='{EVENTS}'>sala</Conference></Dial>"
)
WAIT = "<Play>/music.wav</Play><Redirect method='GET'/>"
DOCUMENTS: dict[str, Told] = {
    "/incoming": ROOM,
    "/wait": WAIT,
    "/music.wav": wav(tone(440, 2.0)),
    "/agent": "<Say loop='0'>Soy el agente</Say>",
}
MUSIC = f"music {PAPER}/music.wav"
AGENT = "say Soy el agente"


def paper_with(**more: Told) -> dict[str, Told]:
    return {**DOCUMENTS, **{f"/{name}": told for name, told in more.items()}}


async def sleep(paper: Paper, seconds: float) -> None:
    await paper.lab.voice.ground.sleep(seconds)


async def talking(paper: Paper) -> tuple[Leg, Leg]:
    """A caller and the agent's leg, in the room together."""
    caller = paper.call_in()
    await paper.until("joined", caller)
    await sleep(paper, 1.0)
    agent = paper.add(f"app:{APP.sid}", Label="agent")
    await paper.until("started", agent)
    return caller, agent
