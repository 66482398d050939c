"""The texts a customer reads that are not the agent's: Jinja2 templates, rendered with what a call left behind.

Templates come from the operator, values from calls. A template runs in a sandbox; a value is never compiled,
and loses its control characters before it is inserted. Nothing is HTML-escaped: WhatsApp shows plain text.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from traceback import extract_tb

from attrs import Factory, frozen
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from actors.calls import CallOutcome
from actors.messages import Purpose

# The body of a WhatsApp template ends at 1,024 characters with its variables filled in (Meta); one value
# must leave room for the rest.
_TEMPLATE_VARIABLE_MAX_CHARACTERS = 512

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# Not the unassigned ones: an emoji newer than this Python is one.
_INKLESS = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"})
# They turn the text around them about, which a caller's "name" could use to disguise a link.
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class TextError(Exception):
    """A text could not be made for this call: the template failed, or left nothing to read."""


@frozen(kw_only=True)
class CallFacts:
    """What a template may use: its variables carry these names.

    Attributes:
        variables: the dynamic variables the call was started with. Templates also get `product`, which is
            the variable of that name, or empty.
    """

    name: str = ""
    summary: str = ""
    pending_questions: Sequence[str] = ()
    next_steps: Sequence[str] = ()
    links: Sequence[str] = ()
    variables: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True)
class TextSources:
    """Templates as the settings hold them.

    Attributes:
        opening: first message after a completed call with a summary.
        opening_without_summary: the same for a call whose summary did not come.
        fallback: plain text without variables, for a person whom the agent leaves without an answer.
        left_out: told to the agent in place of messages too many to read; `{count}` is how many.
        follow_ups: first message after a call that ended otherwise; no entry, or a blank one: none is sent.
        opening_variables, reopen_variables: `ContentVariables` of the two WhatsApp templates.
    """

    opening: str
    opening_without_summary: str
    fallback: str
    left_out: str = "[… {count} mensajes más …]"
    follow_ups: Mapping[CallOutcome, str] = Factory(dict)
    opening_variables: Mapping[str, str] = Factory(dict)
    reopen_variables: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class TemplateFlaw:
    """What is wrong with a template. `line` counts from 1; None when no line is to blame."""

    line: int | None
    sentence: str

    @property
    def described(self) -> str:
        return self.sentence if self.line is None else f"line {self.line}: {self.sentence}"


class Texts:
    """Every text, compiled once.

    Raises:
        TextError: a template does not compile. Settings that were loaded have been checked for that.
    """

    def __init__(self, sources: TextSources) -> None:
        self.fallback = tidy(sources.fallback)
        self._left_out = one_line(sources.left_out)
        self._opening = compile_text("opening", sources.opening)
        self._opening_without_summary = compile_text(
            "opening_without_summary", sources.opening_without_summary
        )
        self._follow_ups = {
            outcome: compile_text(outcome, source)
            for outcome, source in sources.follow_ups.items()
            if not is_blank(source)
        }
        reopen = _compile_variables("reopen", sources.reopen_variables)
        self._template_variables = {
            Purpose.OPENING: _compile_variables("opening", sources.opening_variables),
            Purpose.ANSWER: reopen,
            Purpose.FALLBACK: reopen,
        }

    def left_out(self, count: int) -> str:
        """What the agent is told in place of so many messages."""
        return self._left_out.replace("{count}", str(count))

    def render_opening(self, facts: CallFacts) -> str:
        """The first message after a completed call, trimmed, never blank.

        Raises:
            TextError: the template failed with these values.
        """
        template = self._opening_without_summary if is_blank(facts.summary) else self._opening
        return render_text(template, _context(facts))

    def render_follow_up(self, outcome: CallOutcome, facts: CallFacts) -> str | None:
        """The first message after a call with this outcome; None when the outcome gets none.

        Raises:
            TextError: the template failed with these values.
        """
        if outcome is CallOutcome.COMPLETED:
            return self.render_opening(facts)
        template = self._follow_ups.get(outcome)
        return None if template is None else render_text(template, _context(facts))

    def render_template_variables(self, purpose: Purpose, facts: CallFacts) -> Mapping[str, str]:
        """`ContentVariables` of the WhatsApp template of this purpose.

        WhatsApp takes no empty value, and none with a line break, a tab or more than four spaces in a row:
        each value is one line with single spaces, cut at 512 characters.

        Raises:
            TextError: a value's template failed, or left nothing.
        """
        context = _context(facts)
        return {
            key: _shorten(one_line(render_text(template, context)))
            for key, template in self._template_variables[purpose].items()
        }


def find_flaw(source: str, *, needs_summary: bool = False) -> TemplateFlaw | None:
    """What would keep this template from being rendered for any call; None when nothing would.

    The template is tried with a call that left everything behind and with one that left nothing (except a
    summary with `needs_summary`), so that a variable which some call lacks is found at start and not then.
    """
    try:
        tree = _ENVIRONMENT.parse(source)
        template = _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        return TemplateFlaw(line=error.lineno, sentence=error.message or "is no valid template")
    # Jinja2 generates Python from what the operator wrote, and passes on what that compiler raises.
    except Exception as error:  # noqa: BLE001
        return TemplateFlaw(line=None, sentence=f"is no valid template ({error})")
    unknown = _unknown_variable(tree)
    if unknown is not None:
        return unknown
    bare = CallFacts(summary="…") if needs_summary else CallFacts()
    for facts, label in ((_FULL_SAMPLE, "that left everything"), (bare, "that left no name and no details")):
        try:
            render_text(template, _context(facts))
        except TextError as error:
            return TemplateFlaw(
                line=_line_in_template(error.__cause__), sentence=f"fails for a call {label}: {error}"
            )
    return None


def is_blank(text: str) -> bool:
    """Nothing in it leaves ink: spaces, control and format characters only."""
    return all(unicodedata.category(character) in _INKLESS for character in text)


def clean(text: str) -> str:
    """Line feeds for every kind of line end, a space for a tab, and no other control characters, direction
    overrides or lone surrogates.
    """
    unified = _LINE_ENDS.sub("\n", text).replace("\t", " ")
    return "".join(character for character in unified if not _is_control(character))


def one_line(text: str) -> str:
    """Words with single spaces between them; empty when blank."""
    return "" if is_blank(text) else " ".join(clean(text).split())


def tidy(text: str) -> str:
    """Trimmed, also at the end of each line, with at most one empty line in a row; empty when blank."""
    if is_blank(text):
        return ""
    lines = "\n".join(line.rstrip() for line in clean(text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def _is_control(character: str) -> bool:
    category = unicodedata.category(character)
    return (category == "Cc" and character != "\n") or category == "Cs" or character in _DIRECTION_MARKS


def _shorten(line: str) -> str:
    if len(line) <= _TEMPLATE_VARIABLE_MAX_CHARACTERS:
        return line
    cut = line[: _TEMPLATE_VARIABLE_MAX_CHARACTERS - 1]
    return (cut.rpartition(" ")[0] or cut) + "…"


def _context(facts: CallFacts) -> Mapping[str, object]:
    variables = {key: _clean_value(value) for key, value in facts.variables.items()}
    product = variables.get("product")
    return {
        "name": one_line(facts.name),
        "summary": tidy(facts.summary),
        "pending_questions": _clean_lines(facts.pending_questions),
        "next_steps": _clean_lines(facts.next_steps),
        "links": _clean_lines(facts.links),
        "product": "" if product is None else one_line(str(product)),
        "variables": variables,
    }


def _clean_lines(texts: Sequence[str]) -> Sequence[str]:
    return [one_line(text) for text in texts if not is_blank(text)]


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, Mapping):
        return {str(key): _clean_value(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_clean_value(inner) for inner in value]
    return value


def compile_text(label: str, source: str) -> Template:
    """A template of the operator's, to be rendered in the sandbox.

    Raises:
        TextError: it is none.
    """
    try:
        return _ENVIRONMENT.from_string(source)
    # As in find_flaw.
    except Exception as error:
        raise TextError(f"the text {label!r} is no valid template: {error}") from error


def _compile_variables(label: str, sources: Mapping[str, str]) -> Mapping[str, Template]:
    return {key: compile_text(f"{label} variable {key}", source) for key, source in sources.items()}


def render_text(template: Template, context: Mapping[str, object]) -> str:
    """A text with these values, tidied, never blank.

    Raises:
        TextError: the template failed with these values, or left nothing.
    """
    try:
        text = tidy(template.render(context))
    # A template is a program of the operator's: whatever it raises is a flaw of that text, and the caller
    # goes on without it.
    except Exception as error:
        raise TextError(str(error) or type(error).__name__) from error
    if not text:
        raise TextError("the text is blank")
    return text


def _unknown_variable(tree: nodes.Template) -> TemplateFlaw | None:
    unknown = find_undeclared_variables(tree) - _VARIABLES - set(_ENVIRONMENT.globals)
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            known = ", ".join(sorted(_VARIABLES))
            return TemplateFlaw(
                line=name.lineno, sentence=f"there is no variable {name.name!r}; there are: {known}"
            )
    return None


def _line_in_template(error: BaseException | None) -> int | None:
    """Jinja2 rewrites its tracebacks so that frames of a template carry the template's own lines."""
    if error is None:
        return None
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines else None


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    # WhatsApp shows plain text.
    autoescape=False,
    undefined=StrictUndefined,
    # A variable may be null, and nobody should be greeted as None.
    finalize=lambda value: "" if value is None else value,
    trim_blocks=True,
    lstrip_blocks=True,
)
_VARIABLES = frozenset(_context(CallFacts()))
_FULL_SAMPLE = CallFacts(
    name="Ana",
    summary="Le interesa el plan anual.",
    pending_questions=["¿Incluye soporte?"],
    next_steps=["Enviar la cotización"],
    links=["https://example.com/plan"],
    variables={"name": "Ana", "product": "Plan anual"},
)
