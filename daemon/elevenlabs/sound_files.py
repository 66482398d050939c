"""Sound as files in a folder of a limited size. Blocking, and meant for threads where it says so."""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define

_HEADER_BYTES: Final = 58
_UNFINISHED: Final = ".part"
_UNFINISHED_FOR_S: Final = 3600.0


@define(eq=False)
class SoundFiles:
    """Files that are whole or not there. Above `max_bytes` those go that were not used for longest; the newest stays.

    Only this user may read them. Names are the caller's to check.
    """

    folder: Path
    max_bytes: int

    def path_of(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.is_file() else None

    def use(self, name: str) -> bool:
        """Whether there is such a file, which counts as used now. Quick enough to be asked anywhere."""
        path = self.folder / name
        try:
            if path.stat().st_size <= _HEADER_BYTES:
                return False
        except OSError:
            return False
        # A disk that may only be read has its files all the same.
        with suppress(OSError):
            os.utime(path)
        return True

    def store(self, name: str, content: bytes) -> None:
        """For a thread.

        Raises:
            OSError: the disk does not take it; then nothing of it is left there.
        """
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        unfinished = self.folder / f"{name}.{secrets.token_hex(4)}{_UNFINISHED}"
        try:
            _write(unfinished, content)
            unfinished.replace(self.folder / name)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        self._make_room(name)

    def _make_room(self, newest: str) -> None:
        used: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                found = path.stat()
                used.append((found.st_mtime, found.st_size, path))
        total = 0
        for modified, size, path in sorted(used, reverse=True):
            if path.suffix == _UNFINISHED:
                # Of a daemon that was killed, unless somebody is writing it now.
                is_too_much = time.time() - modified > _UNFINISHED_FOR_S
            else:
                total += size
                is_too_much = total > self.max_bytes and path.name != newest
            if is_too_much:
                with suppress(OSError):
                    path.unlink()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        # Renamed but not written is what a power cut can leave otherwise.
        os.fsync(file.fileno())
