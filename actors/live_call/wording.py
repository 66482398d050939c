"""What a live call says, to persons in the agent's voice and to the agent in words of ours. Templates of the operator's.

Every template may use every variable of `CallFacts`; any of them may be empty.
"""

from collections.abc import Mapping

from attrs import asdict, fields, frozen

from actors.conversation.texts import TextError, clean, compile_text, one_line, render_text

_VALUE_MAX_CHARACTERS = 300
_DIGITS = 4


@frozen(kw_only=True)
class CallFacts:
    """The variables of the templates.

    Attributes:
        name: of the caller, as far as it is known.
        number: the caller's, in full; for the advisor's notice alone.
        digits: its last four.
        reason: why the caller wants an advisor, in the agent's words.
        advisor: who is meant.
        missed: why the advisor was not reached: `no_answer`, `busy`, `failed`, `declined` or `unavailable`.
        link: to a recording.
        duration_s: of a recording.
        hours: for which the link works.
    """

    name: str = ""
    number: str = ""
    digits: str = ""
    reason: str = ""
    advisor: str = ""
    missed: str = ""
    link: str = ""
    duration_s: int = 0
    hours: int = 0


WORD_VARIABLES = tuple(attribute.name for attribute in fields(CallFacts))


@frozen(kw_only=True)
class WordSources:
    """The templates as the settings hold them; see `[voice_texts]` in config.toml."""

    whisper: str
    press_one: str
    caller_gone: str
    busy: str
    menu: str
    voicemail: str
    nothing_recorded: str
    recorded: str
    goodbye: str
    tool_calling: str
    tool_nobody: str
    tool_recording: str
    tool_not_now: str
    told_calling: str
    told_nobody: str
    told_missed: str
    told_joined: str
    told_left: str
    back_after_loss: str
    back_after_missed: str
    back_after_advisor: str
    notice: str
    note_talked: str
    note_missed: str
    note_message: str


SPOKEN = ("press_one", "caller_gone", "busy", "menu", "voicemail", "nothing_recorded", "recorded", "goodbye")
"""What persons hear word for word the same in every call, so that it can be spoken beforehand."""


class Words:
    """Every template, compiled once.

    Raises:
        TextError: a template does not compile. Settings that were loaded have been checked for that.
    """

    def __init__(self, sources: WordSources, *, notice_variables: Mapping[str, str] | None = None) -> None:
        self._templates = {
            attribute.name: compile_text(attribute.name, getattr(sources, attribute.name))
            for attribute in fields(WordSources)
        }
        self._notice_variables = {
            name: compile_text(f"notice variable {name}", source)
            for name, source in (notice_variables or {}).items()
        }

    def notice_variables(self, facts: CallFacts) -> Mapping[str, str]:
        """`ContentVariables` of the template that tells an advisor of a message; WhatsApp takes no empty value."""
        values = {}
        for name, template in self._notice_variables.items():
            try:
                values[name] = one_line(render_text(template, _context(facts)))
            except TextError:
                values[name] = "-"
        return values

    def say(self, name: str, facts: CallFacts | None = None) -> str:
        """The text of this name, one line; what a template fails with is left out, and its bare name said in its place.

        A call must go on whatever an operator's template does, and templates were tried when the settings were read.
        """
        try:
            return one_line(render_text(self._templates[name], _context(facts or CallFacts())))
        except TextError:
            return name.replace("_", " ")


def _context(facts: CallFacts) -> dict[str, object]:
    """Values come from callers and language models: no control characters, and no more than a sentence or two."""
    return {
        name: one_line(clean(value))[:_VALUE_MAX_CHARACTERS] if isinstance(value, str) else value
        for name, value in asdict(facts).items()
    }


def last_digits(number: str) -> str:
    """What may be said of a number to somebody else."""
    return number[-_DIGITS:]


def find_word_flaw(source: str) -> str | None:
    """What would keep this template from being rendered in a call; None when nothing would."""
    full = CallFacts(
        name="Ana",
        number="+525512345678",
        digits="5678",
        reason="una factura",
        advisor="Jesús",
        missed="no_answer",
        link="https://example.com/r",
        duration_s=12,
        hours=72,
    )
    for facts, label in ((full, "of which everything is known"), (CallFacts(), "of which nothing is known")):
        try:
            render_text(compile_text("text", source), _context(facts))
        except TextError as error:
            return f"fails for a call {label}: {error}"
    return None
