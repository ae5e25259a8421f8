"""Secrets by reference: the configuration names a place, and what is there is read when needed."""

from __future__ import annotations

import os

from exporter import files
from exporter.errors import Refused
from exporter.redaction import redacted


class Token:
    """A secret by reference: the name of an environment variable, or a file."""

    def __init__(self, *, env: str | None, file: str | None) -> None:
        self._env = env
        self._file = file

    def read(self) -> str | None:
        """The secret as it is now, or None where neither place is named.

        A file is opened each time, so that no way to rotate it is missed. Raises
        Refused(`unauthorized`), which names the place, if no token is there.
        """
        if self._env is not None:
            place, text = f"environment variable {self._env}", os.environ.get(self._env, "")
        elif self._file is not None:
            place, text = f"token_file {self._file}", content(self._file, key="token_file")
        else:
            return None
        text = text.strip()
        if not text:
            raise Refused(f"{place} is not set or empty", reason="unauthorized")
        if not sendable(text):
            raise Refused(f"{place} holds more than one line of ASCII", reason="unauthorized")
        return text


def content(file: str, *, key: str) -> str:
    """The text of a file that holds a secret; `key` is what the configuration calls it.

    Raises Refused(`unauthorized`), which names the file and quotes nothing of it.
    """
    try:
        return files.content(file, most=files.SMALL).decode("utf-8-sig")
    except OSError as error:
        text = files.why(error)
    except ValueError:  # not UTF-8; the error's own text would quote the secret
        text = "does not hold text"
    raise Refused(f"{key} {redacted(file)} {text}", reason="unauthorized")


def sendable(value: str) -> bool:
    """Whether a header can carry `value`."""
    return value.isascii() and value.isprintable()
