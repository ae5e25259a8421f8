"""A page of somebody else changes nothing here, whatever browser it is shown by."""

from __future__ import annotations

import socket

import pytest

from exporter.web.origin import foreign

HERE = "127.0.0.1:10054"


@pytest.mark.parametrize(
    ("said", "is_obeyed"),
    [
        ({}, True),
        ({"host": "exporter.example:10054"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": f"http://{HERE}"}, True),
        ({"origin": f"https://{HERE}"}, True),
        ({"origin": f"http://{HERE}", "sec-fetch-site": "same-origin"}, True),
        ({"host": "[::1]:10054", "origin": "http://[::1]:10054"}, True),
        ({"host": "localhost:10054", "origin": "http://localhost:10054"}, True),
        ({"host": socket.gethostname(), "origin": f"http://{socket.gethostname()}"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://127.0.0.1:8080"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": f"http://{HERE}", "sec-fetch-site": "cross-site"}, False),
        ({"host": "evil.example:10054", "origin": "http://evil.example:10054"}, False),
        ({"host": "evil.example:10054", "sec-fetch-site": "same-origin"}, False),
        ({"host": "[", "origin": "http://["}, False),
    ],
    ids=str,
)
def test_a_page_is_obeyed_if_it_is_ours_and_a_program_always(
    said: dict[str, str], is_obeyed: bool
) -> None:
    assert (foreign({"host": HERE, **said}) is None) == is_obeyed
