"""The pages that are made from the code are current."""

from __future__ import annotations

from exporter.config.reference import reference
from exporter.providers import catalogue
from exporter.web.schema import schema
from tests.conftest import ROOT


def test_the_committed_page_of_providers_is_current() -> None:
    remedy = "python -m exporter.config.reference > docs/PROVIDERS.md"

    assert reference() == (ROOT / "docs" / "PROVIDERS.md").read_text(), f"make it anew: {remedy}"


def test_the_committed_schema_of_the_status_is_current() -> None:
    remedy = "python -m exporter.web.schema > docs/status.schema.json"

    assert schema() == (ROOT / "docs" / "status.schema.json").read_text(), f"anew: {remedy}"


def test_the_page_has_every_provider() -> None:
    page = reference()

    assert all(f"- `provider: {name}`" in page for name in catalogue())
