"""Images: the rows of a commit as they stand after it, for those who write the same state.

An image is msgpack; what a version does not know of one it leaves out. One that it cannot read at
all, as a later version wrote it otherwise, says that the state must be loaded anew.

    >>> from exporter.ledger.rows import SeriesKey, SeriesRow
    >>> passed = SeriesRow(SeriesKey("cicd_builds_total", ("github", "acme")), (1.0,), is_live=True)
    >>> decode(encode(Changes(series=[passed])), turn=7) == Changes(turn=7, series=[passed])
    True
    >>> decode(b"", turn=8)
    Changes(turn=8, is_anew=True)
"""

from __future__ import annotations

import msgspec

from exporter.ledger.rows import Changes

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Changes)


def encode(changes: Changes) -> bytes | None:
    """The image of a commit; None if there is nothing that another process would show."""
    plain = msgspec.structs.replace(changes, turn=0)
    return None if plain == _NOTHING else _encode(plain)


def decode(image: bytes, *, turn: int) -> Changes:
    """The rows of the commit that took this turn."""
    try:
        changes = _decoder.decode(image)
    except msgspec.DecodeError:
        return Changes(turn=turn, is_anew=True)
    changes.turn = turn
    return changes


_NOTHING = Changes()
