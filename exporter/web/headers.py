"""The headers that tell a browser what not to do with our answers."""

from __future__ import annotations

NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}

HEADERS = NO_SNIFFING | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""On every answer that has no other value for one of them."""
