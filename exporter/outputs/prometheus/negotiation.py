"""What a client asks for, by RFC 9110: which format, packed or not."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from exporter.outputs.prometheus.text import Format

CONTENT_TYPES: dict[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    "protobuf": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily;"
    " encoding=delimited",
}

_OFFERS: dict[Format, tuple[str, str, str]] = {
    "text": ("text", "plain", "0.0.4"),
    "openmetrics": ("application", "openmetrics-text", "1.0.0"),
}
"""Type, subtype and version. The first one is for who has no preference."""
_PROTOBUF = "application/vnd.google.protobuf"
_MESSAGE = {"proto": "io.prometheus.client.metricfamily", "encoding": "delimited"}


def negotiate(accept: str, *, offers: Collection[Format] = ("text", "openmetrics")) -> Format:
    """The best of the `offers` for an `Accept` header.

    It has the highest weight, and of equals it is the first named. Plain text if none is
    welcome: a scrape is better than no scrape.
    """
    ranges = list(_weighted(accept))
    best: tuple[float, int] = (0.0, 0)
    chosen: Format = "text"
    for form in offers:
        matching = [
            (precision, weight, -place)
            for place, (media, options, weight) in enumerate(ranges)
            if (precision := _precision(form, media, options)) is not None
        ]
        if matching:
            _, weight, place = max(matching)
            if weight > 0 and (weight, place) > best:
                best, chosen = (weight, place), form
    return chosen


def _precision(form: Format, media: str, options: dict[str, str]) -> int | None:
    """How closely a media range names a format; None if it does not mean it."""
    if form == "protobuf":  # nobody gets it who does not name it
        return 4 if media == _PROTOBUF and _MESSAGE.items() <= options.items() else None
    kind, subtype, version = _OFFERS[form]
    if media == f"{kind}/{subtype}":
        known = options.get("version")
        return 2 if known is None else 3 if known == version else None
    return {"*/*": 0, f"{kind}/*": 1}.get(media)


def wants_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header would rather have gzip than nothing.

    So it is where gzip is named with no less weight than `identity`, by itself or by `*`, and
    where only `identity` is refused.
    """
    weights = {word: weight for word, _, weight in _weighted(accept_encoding)}
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*")))
    identity = weights.get("identity")
    if gzip is None:
        return identity == 0
    return gzip > 0 and gzip >= (identity or 0.0)


def _weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """The choices of a header: word, options, weight."""
    for part in header.lower().split(","):
        word, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (p.partition("=") for p in parameters)
        options = {name.strip(): value.strip().strip('"') for name, _, value in pairs}
        if word:
            yield word, options, _weight(options.get("q", "1"))


def _weight(text: str) -> float:
    """Between 0 and 1; what is no weight is none."""
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
