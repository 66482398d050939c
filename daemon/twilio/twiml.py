"""What a leg is to do next, written as Twilio reads it: TwiML. Pure.

Attributes and their defaults as in the Twilio docs: voice/twiml, voice/twiml/dial, voice/twiml/conference,
voice/twiml/stream, voice/twiml/gather, voice/twiml/record.
"""

import re
from typing import Any, Final, assert_never

from attrs import field, frozen
from twilio.twiml.voice_response import (  # type: ignore[import-untyped]
    Connect,
    Dial,
    Gather,
    Stream,
    VoiceResponse,
)

from actors.live_call import paths
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
    Prompts,
    SpokenEnd,
    Voicemail,
)
from actors.live_call.telephony import ADVISOR_LABEL, CALLER_LABEL
from daemon.twilio.callbacks import ROOM_EVENTS, without_slash

CONTENT_TYPE: Final = "text/xml"

_KEY_TIMEOUT_S: Final = 6
_LOST_PAUSE_S: Final = 10
_MUSIC_PAUSE_S: Final = 2
_MOMENT_S: Final = 1
_SAY_MAX: Final = 4096
# What XML 1.0 has no way to write (W3C: Extensible Markup Language 1.0, production 2).
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen(kw_only=True)
class Twiml:
    """Writes documents for one public URL.

    Attributes:
        public_url: where Twilio reaches us, http or https.
        language, voice: of Twilio's own voice, heard where there is no sound for a prompt.
    """

    public_url: str = field(converter=without_slash)
    language: str = "es-MX"
    voice: str = "Polly.Mia-Neural"

    def write(self, document: Document) -> str:
        """The document as XML, to be answered as `CONTENT_TYPE`."""
        response = VoiceResponse()
        match document:
            case CallerRoom() | AdvisorRoom():
                self._room(response, document)
            case AgentStream():
                self._stream(response, document)
            case AdvisorGate():
                self._gate(response, document)
            case SpokenEnd():
                self._say(response, document.prompts)
                response.hangup()
            case Voicemail():
                self._voicemail(response, document)
            case Menu():
                self._menu(response, document)
            case HoldMusic():
                response.play(document.url, loop=0)
                response.pause(length=_MUSIC_PAUSE_S)
                response.redirect(self._url(paths.HOLD_MUSIC), method="GET")
            case AskAgain():
                response.pause(length=_MOMENT_S)
                response.redirect(self._url(document.path), method="POST")
            case Nothing():
                pass
            case _:
                assert_never(document)
        return str(response)

    def _room(self, response: Any, document: CallerRoom | AdvisorRoom) -> None:
        """All who come bring the same callback, since only that of the first counts.

        An advisor who finds nobody there, because the caller hung up meanwhile, hears the music too, until he is told.
        """
        is_caller = isinstance(document, CallerRoom)
        after = self._of_call(paths.AFTER, document.live_call_id) if is_caller else None
        dial = Dial(action=after, method="POST" if after else None, time_limit=document.time_limit_s)
        dial.conference(
            _plain(document.room),
            participant_label=CALLER_LABEL if is_caller else ADVISOR_LABEL,
            start_conference_on_enter=True,
            end_conference_on_exit=is_caller,
            beep="false",
            jitter_buffer_size="small",
            wait_url=self._url(paths.HOLD_MUSIC),
            wait_method="GET",
            status_callback=self._of_call(paths.CONFERENCE, document.live_call_id),
            # One value of several words: the SDK would write a list as Python shows it.
            status_callback_event=" ".join(ROOM_EVENTS),
        )
        response.append(dial)

    def _stream(self, response: Any, document: AgentStream) -> None:
        """Without an `action`, which would be asked of a daemon that may be dead.

        What stands behind a sound is reached when the sound is over, or not to be had.
        """
        stream = Stream(url=self._socket_url(paths.STREAM))
        stream.parameter(name="token", value=document.token)
        connect = Connect()
        connect.append(stream)
        response.append(connect)
        if document.lost_music_url is not None:
            response.play(document.lost_music_url, loop=0)
        else:
            response.play(document.own_music_url)
            response.pause(length=_LOST_PAUSE_S)
        if document.caller_of is not None:
            response.redirect(self._of_call(paths.AFTER, document.caller_of), method="POST")

    def _gate(self, response: Any, document: AdvisorGate) -> None:
        for prompts in (document.whisper, document.again):
            gather = self._gather(self._of_leg(paths.TRANSFER_ACCEPT, document))
            self._say(gather, prompts)
            response.append(gather)
        response.redirect(self._of_leg(paths.TRANSFER_DECLINED, document), method="POST")

    def _menu(self, response: Any, document: Menu) -> None:
        choice = self._of_call(paths.MENU_CHOICE, document.live_call_id)
        gather = self._gather(choice)
        self._say(gather, document.prompts)
        response.append(gather)
        response.redirect(choice, method="POST")

    def _gather(self, action: str) -> Any:
        """One key, of which none is special; without any Twilio goes on behind it."""
        return Gather(
            input="dtmf",
            num_digits=1,
            finish_on_key="",
            timeout=_KEY_TIMEOUT_S,
            action=action,
            method="POST",
        )

    def _voicemail(self, response: Any, document: Voicemail) -> None:
        """An empty recording asks for no `action`, and goes on behind it."""
        self._say(response, document.prompts)
        response.record(
            action=self._of_call(paths.VOICEMAIL_DONE, document.live_call_id),
            method="POST",
            max_length=document.length_max_s,
            timeout=document.silence_s,
            finish_on_key="#",
            play_beep=True,
            trim="trim-silence",
            recording_status_callback=self._of_call(paths.VOICEMAIL_RECORDING, document.live_call_id),
            recording_status_callback_event="completed absent",
        )
        self._say(response, document.nothing_recorded)
        response.hangup()

    def _say(self, verb: Any, prompts: Prompts) -> None:
        for prompt in prompts:
            if prompt.audio_url is not None:
                verb.play(prompt.audio_url)
            elif text := _plain(prompt.text).strip()[:_SAY_MAX]:
                verb.say(text, language=self.language, voice=self.voice)

    def _of_call(self, path: str, live_call_id: int) -> str:
        return self._url(paths.of_call(path, live_call_id))

    def _of_leg(self, path: str, gate: AdvisorGate) -> str:
        return self._url(paths.of_leg(path, gate.live_call_id, gate.leg))

    def _url(self, path: str) -> str:
        return self.public_url + path

    def _socket_url(self, path: str) -> str:
        """Over TLS if the public URL is (Twilio takes no other; a laboratory does)."""
        return "ws" + self.public_url.removeprefix("http") + path


def _plain(text: str) -> str:
    """Without characters that would break the whole document: names and reasons come from people and agents."""
    return _NO_XML.sub("", text)
