"""What all workers must go by, or they would show different series.

Each worker says what its file has. The state says what is in force, which changes once all living
workers say the same.
"""

from __future__ import annotations

import msgspec

from exporter.config import Config


class Rules(msgspec.Struct, frozen=True, omit_defaults=True):
    """The keys that must be the same for all. Spans in seconds."""

    branches: tuple[str, ...]
    duration_buckets: tuple[float, ...]
    queue_buckets: tuple[float, ...]
    series_limit: int
    zero_hold: float
    max_open_age: float
    retention: float
    native_histograms: bool = False
    build_info: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Rules).decode


def wanted(config: Config) -> bytes:
    """What a configuration would have all go by."""
    return _encode(
        Rules(
            branches=config.metrics.branches,
            duration_buckets=tuple(map(float, config.metrics.duration_buckets)),
            queue_buckets=tuple(map(float, config.metrics.queue_buckets)),
            series_limit=config.metrics.series_limit,
            zero_hold=config.metrics.zero_hold,
            max_open_age=config.polling.max_open_age,
            retention=config.state.retention,
            native_histograms=config.web.native_histograms,
            build_info=config.metrics.build_info,
        )
    )


def obeying(config: Config, rules: bytes | None) -> Config:
    """A configuration that goes by these rules; None, and rules of another kind, change nothing."""
    try:
        known = None if rules is None else _decode(rules)
    except msgspec.DecodeError:
        known = None
    if known is None:
        return config
    metrics = {
        "branches": known.branches,
        "duration_buckets": known.duration_buckets,
        "queue_buckets": known.queue_buckets,
        "series_limit": known.series_limit,
        "zero_hold": known.zero_hold,
        "build_info": known.build_info,
    }
    return config.model_copy(
        update={
            "metrics": config.metrics.model_copy(update=metrics),
            "polling": config.polling.model_copy(update={"max_open_age": known.max_open_age}),
            "state": config.state.model_copy(update={"retention": known.retention}),
            "web": config.web.model_copy(update={"native_histograms": known.native_histograms}),
        }
    )
