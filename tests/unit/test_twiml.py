"""`daemon.twilio.twiml`: every document, as the XML that Twilio reads."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.live_call.documents import (
    AdvisorGate,
    AdvisorRoom,
    AgentStream,
    AskAgain,
    CallerRoom,
    Document,
    HoldMusic,
    Menu,
    Nothing,
    Prompt,
    SpokenEnd,
    Voicemail,
)
from daemon.lab.twilio.voice.twiml import parse
from daemon.twilio.twiml import Twiml

PUBLIC = "https://relevo.example.com"
TWIML = Twiml(public_url=f"{PUBLIC}/")
SAID = {"language": "es-MX", "voice": "Polly.Mia-Neural"}
OWN = f"{PUBLIC}/voice/audio/hold-music.wav"
MUSIC = "https://cdn.example.com/espera.mp3?a=1&b=2"

Tree = tuple[Any, ...]


def tree_of(document: Document, twiml: Twiml = TWIML) -> list[Tree]:
    """What is in the `<Response>`: name, attributes, then text and children."""
    root = ET.fromstring(twiml.write(document))
    assert root.tag == "Response"
    assert not root.attrib
    return [_tree(element) for element in root]


def _tree(element: ET.Element) -> Tree:
    own = (element.tag, element.attrib)
    return (*own, *([element.text] if element.text else []), *map(_tree, element))


def gather(action: str, *children: Tree) -> Tree:
    keys = {"input": "dtmf", "numDigits": "1", "finishOnKey": "", "timeout": "6", "method": "POST"}
    return ("Gather", {**keys, "action": f"{PUBLIC}{action}"}, *children)


def say(text: str) -> Tree:
    return ("Say", SAID, text)


def play(url: str) -> Tree:
    return ("Play", {}, url)


class TestRooms:
    COMMON: Mapping[str, str] = {
        "beep": "false",
        "jitterBufferSize": "small",
        "waitUrl": f"{PUBLIC}/voice/hold-music",
        "waitMethod": "GET",
        "statusCallback": f"{PUBLIC}/voice/conference?c=7",
        "statusCallbackEvent": "start end join leave hold",
        "startConferenceOnEnter": "true",
    }

    def test_the_caller_holds_the_room(self) -> None:
        document = CallerRoom(live_call_id=7, room="conf_CA1", time_limit_s=3600)
        seat = {**self.COMMON, "participantLabel": "caller", "endConferenceOnExit": "true"}
        dial = {"action": f"{PUBLIC}/voice/after?c=7", "method": "POST", "timeLimit": "3600"}
        assert tree_of(document) == [("Dial", dial, ("Conference", seat, "conf_CA1"))]

    def test_the_advisor_comes_and_goes(self) -> None:
        document = AdvisorRoom(live_call_id=7, room="conf_CA1", time_limit_s=600)
        seat = {**self.COMMON, "participantLabel": "advisor", "endConferenceOnExit": "false"}
        assert tree_of(document) == [("Dial", {"timeLimit": "600"}, ("Conference", seat, "conf_CA1"))]


class TestStream:
    @pytest.mark.parametrize(
        ("public_url", "socket"),
        [
            ("https://relevo.example.com", "wss://relevo.example.com/voice/stream"),
            ("http://127.0.0.1:3001/", "ws://127.0.0.1:3001/voice/stream"),
            ("https://relevo.example.com:8443/a", "wss://relevo.example.com:8443/a/voice/stream"),
        ],
    )
    def test_goes_to_our_socket_with_its_token(self, public_url: str, socket: str) -> None:
        tree = tree_of(AgentStream(token='a"b&', own_music_url=OWN), Twiml(public_url=public_url))
        token = ("Parameter", {"name": "token", "value": 'a"b&'})
        assert tree == [
            ("Connect", {}, ("Stream", {"url": socket}, token)),
            play(OWN),
            ("Pause", {"length": "10"}),
        ]

    def test_a_lost_one_leaves_no_silence_where_there_is_music(self) -> None:
        stream = AgentStream(token="t", own_music_url=OWN, lost_music_url=MUSIC)
        assert tree_of(stream)[1:] == [("Play", {"loop": "0"}, MUSIC)]

    @pytest.mark.parametrize(
        ("music_url", "meanwhile"),
        [(None, [play(OWN), ("Pause", {"length": "10"})]), (MUSIC, [("Play", {"loop": "0"}, MUSIC)])],
    )
    def test_a_caller_who_is_on_it_asks_what_comes_next(
        self, music_url: str | None, meanwhile: list[Tree]
    ) -> None:
        after = ("Redirect", {"method": "POST"}, f"{PUBLIC}/voice/after?c=7")
        stream = AgentStream(token="t", own_music_url=OWN, lost_music_url=music_url, caller_of=7)
        assert tree_of(stream)[1:] == [*meanwhile, after]


class TestPrompts:
    def test_the_agents_voice_is_played_and_twilios_only_where_there_is_none(self) -> None:
        sound = f"{PUBLIC}/voice/audio/ab12.mp3"
        prompts = [Prompt("Le llama Ana.", sound), Prompt("Marque uno.")]
        assert tree_of(SpokenEnd(prompts=prompts)) == [play(sound), say("Marque uno."), ("Hangup", {})]

    def test_twilios_voice_can_be_another(self) -> None:
        twiml = Twiml(public_url=PUBLIC, language="es-US", voice="Google.es-US-Neural2-A")
        assert tree_of(SpokenEnd(prompts=[Prompt("Adiós")]), twiml)[0] == (
            "Say",
            {"language": "es-US", "voice": "Google.es-US-Neural2-A"},
            "Adiós",
        )

    def test_no_words_are_no_verb(self) -> None:
        assert tree_of(SpokenEnd(prompts=[Prompt(" \n"), Prompt("\0")])) == [("Hangup", {})]

    def test_names_and_reasons_cannot_break_the_document(self) -> None:
        prompt = Prompt('<Hangup/> & "Ana" \0\x0b\ud800\ufffe ñ 🙂')
        assert tree_of(SpokenEnd(prompts=[prompt])) == [
            say('<Hangup/> & "Ana"  ñ 🙂'),
            ("Hangup", {}),
        ]

    def test_a_text_is_no_longer_than_twilio_takes(self) -> None:
        ((_, _, text), _) = tree_of(SpokenEnd(prompts=[Prompt("a" * 10_000)]))
        assert text == "a" * 4096


def test_the_advisor_is_asked_twice_and_then_has_declined() -> None:
    document = AdvisorGate(
        live_call_id=7,
        leg=2,
        whisper=[Prompt("Le llama Ana, por una factura."), Prompt("Marque uno.")],
        again=[Prompt("Marque uno.")],
    )
    accept = "/voice/transfer/accept?c=7&l=2"
    assert tree_of(document) == [
        gather(accept, say("Le llama Ana, por una factura."), say("Marque uno.")),
        gather(accept, say("Marque uno.")),
        ("Redirect", {"method": "POST"}, f"{PUBLIC}/voice/transfer/declined?c=7&l=2"),
    ]


def test_a_message_is_recorded_and_none_is_said_to_be_none() -> None:
    document = Voicemail(
        live_call_id=7,
        prompts=[Prompt("Deje su mensaje.")],
        nothing_recorded=[Prompt("No recibimos ningún mensaje.")],
        length_max_s=120,
    )
    record = {
        "action": f"{PUBLIC}/voice/voicemail/done?c=7",
        "method": "POST",
        "maxLength": "120",
        "timeout": "5",
        "finishOnKey": "#",
        "playBeep": "true",
        "trim": "trim-silence",
        "recordingStatusCallback": f"{PUBLIC}/voice/voicemail/recording?c=7",
        "recordingStatusCallbackEvent": "completed absent",
    }
    assert tree_of(document) == [
        say("Deje su mensaje."),
        ("Record", record),
        say("No recibimos ningún mensaje."),
        ("Hangup", {}),
    ]


def test_a_menu_without_a_key_is_a_choice_too() -> None:
    choice = "/voice/menu/choice?c=7"
    assert tree_of(Menu(live_call_id=7, prompts=[Prompt("Marque uno.")])) == [
        gather(choice, say("Marque uno.")),
        ("Redirect", {"method": "POST"}, f"{PUBLIC}{choice}"),
    ]


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        (
            HoldMusic(MUSIC),
            [
                ("Play", {"loop": "0"}, MUSIC),
                ("Pause", {"length": "2"}),
                ("Redirect", {"method": "GET"}, f"{PUBLIC}/voice/hold-music"),
            ],
        ),
        (SpokenEnd(), [("Hangup", {})]),
        (
            AskAgain("/voice/menu?c=7&t=1"),
            [("Pause", {"length": "1"}), ("Redirect", {"method": "POST"}, f"{PUBLIC}/voice/menu?c=7&t=1")],
        ),
        (Nothing(), []),
    ],
)
def test_short_documents(document: Document, tree: list[Tree]) -> None:
    assert tree_of(document) == tree


# --- Properties -----------------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=60)
ids = st.integers(1, 2**63 - 1)
addresses = texts.map(lambda text: f"https://x/{text.encode('utf-8', 'replace').hex()}")
urls = st.none() | addresses
prompts = st.lists(st.builds(Prompt, text=texts, audio_url=urls), max_size=3)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=100)
legs = st.integers(1, 99)
limits = st.integers(1, 86_400)
documents = st.one_of(
    st.builds(CallerRoom, live_call_id=ids, room=texts, time_limit_s=limits),
    st.builds(
        AgentStream, token=tokens, own_music_url=addresses, lost_music_url=urls, caller_of=st.none() | ids
    ),
    st.builds(AdvisorGate, live_call_id=ids, leg=legs, whisper=prompts, again=prompts),
    st.builds(AdvisorRoom, live_call_id=ids, room=texts, time_limit_s=limits),
    st.builds(SpokenEnd, prompts=prompts),
    st.builds(Voicemail, live_call_id=ids, prompts=prompts, nothing_recorded=prompts, length_max_s=limits),
    st.builds(Menu, live_call_id=ids, prompts=prompts),
)


@given(document=documents)
def test_whatever_is_said_the_document_can_be_read(document: Document) -> None:
    """By the simulated Twilio, which also refuses verbs that are none, or not there."""
    written = TWIML.write(document)
    assert written.encode("utf-8")
    parse(written)
