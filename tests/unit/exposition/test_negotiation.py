"""The best of what a client asks for, by RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.prometheus import Format, negotiate, wants_gzip
from tests.unit.exposition import FORMATS

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;"
    f"q=0.6,{PROMETHEUS_3}"
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OLD = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
OM = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (PROMETHEUS_3, "openmetrics"),
        (PROMETHEUS_3_PROTOBUF, "openmetrics"),
        (PROMETHEUS_2, "openmetrics"),
        (OLD, "text"),
        (BROWSER, "text"),
        ("", "text"),
        ("*/*", "text"),
        ("text/plain", "text"),
        ("text/plain;version=0.0.4", "text"),
        ("text/plain;version=9", "text"),
        ("text/*", "text"),
        ("application/*", "openmetrics"),
        ("image/png", "text"),
        (OM, "openmetrics"),
        (OM.upper(), "openmetrics"),
        (f"{OM};version=1.0.0", "openmetrics"),
        (f"{OM}; version=1.0.0; charset=utf-8", "openmetrics"),
        (f'{OM};version="1.0.0"', "openmetrics"),
        (f"{OM} ; version = 1.0.0", "openmetrics"),
        (f"{OM};version=0.0.1", "text"),
        (f"{OM};version=2.0.0", "text"),
        (f"{OM};version=7.1.0", "text"),
        (f"{OM};version=abc", "text"),
        (f"{OM};version=", "text"),
        (f"{OM};version=1.0.0;q=0", "text"),
        (f"{OM};version=1.0.0;q=0.0", "text"),
        (f"{OM};version=1.0.0;q=0.1", "openmetrics"),
        (f"{OM};version=1.0.0;q=0.4,text/plain;q=0.6", "text"),
        (f"{OM};version=1.0.0;q=0.6,text/plain;q=0.4", "openmetrics"),
        (f"text/plain;q=0.4,{OM};version=1.0.0;q=0.6", "openmetrics"),
        (f"text/plain,{OM};version=1.0.0", "text"),
        (f"{OM};version=1.0.0,text/plain", "openmetrics"),
        ("text/plain;q=0.1,*/*;q=0.9", "openmetrics"),
        ("text/plain;q=0,*/*", "openmetrics"),
        (f"*/*,{OM};q=0", "text"),
        (f"{OM};version=1.0.0;q=0.2,{OM};q=0.9,text/plain;q=0.5", "text"),
        ("text/plain;version=1.0.0,*/*;q=0.1", "text"),
        ("*/*;q=0", "text"),
        (f"{OM};version=1.0.0;q=x", "text"),
        (f"{OM};version=1.0.0;q=", "text"),
        (f"{OM};version=1.0.0;q=nan", "text"),
        (f"{OM};version=1.0.0;q=-1", "text"),
        (f"{OM};version=1.0.0;q=2", "text"),
        (f"{OM};version=1.0.0;q=1e999", "text"),
        (f"{OM};q", "text"),
        (";;;,,,=;q=;", "text"),
        (",", "text"),
    ],
    ids=lambda value: value,
)
def test_the_format_is_the_best_that_is_asked_for(accept: str, form: Format) -> None:
    assert negotiate(accept) == form


@given(st.text() | st.text(';,=q.01 /*openmetrics-text"'))
def test_no_header_breaks_the_negotiation(header: str) -> None:
    assert negotiate(header) in FORMATS
    assert wants_gzip(header) in (False, True)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip, identity", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("gzip;q=0.5, identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip; q=0, identity", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0.1", True),
        ("*, identity;q=0.5", True),
        ("br, *;q=0.1, identity;q=0.5", False),
        ("*;q=0", False),
        ("identity", False),
        ("identity;q=0", True),
        ("identity;q=0, gzip;q=0", False),
        ("*;q=0, gzip", True),
        ("br", False),
        ("x-gzipped", False),
        ("gzip;q=x", False),
        ("", False),
        (",;q=1", False),
    ],
)
def test_gzip_is_for_who_would_rather_have_it(header: str, wanted: bool) -> None:
    assert wants_gzip(header) is wanted
