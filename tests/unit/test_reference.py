"""The pages that are made from the code are current."""

from __future__ import annotations

import re

import pytest

from exporter.config import schema as settings
from exporter.config.keys import page
from exporter.config.reference import LABELS, reference
from exporter.providers import Provider, catalogue
from exporter.web.schema import SHAPES, schema
from tests.conftest import ROOT


def test_the_committed_page_of_providers_is_current() -> None:
    remedy = "python -m exporter.config.reference > docs/PROVIDERS.md"

    assert reference() == (ROOT / "docs" / "PROVIDERS.md").read_text(), f"make it anew: {remedy}"


def test_the_committed_page_of_the_configuration_is_current() -> None:
    remedy = "python -m exporter.config.keys > docs/CONFIGURATION.md"

    assert page() == (ROOT / "docs" / "CONFIGURATION.md").read_text(), f"make it anew: {remedy}"


@pytest.mark.parametrize("name", SHAPES)
def test_the_committed_schema_of_what_is_served_is_current(name: str) -> None:
    remedy = f"python -m exporter.web.schema {name} > docs/{name}.schema.json"

    assert schema(name) == (ROOT / "docs" / f"{name}.schema.json").read_text(), f"anew: {remedy}"


def test_the_page_has_every_provider() -> None:
    page = reference()

    assert all(f"- `provider: {name}`" in page for name in catalogue())


@pytest.mark.parametrize("provider", catalogue())
def test_a_provider_tells_its_token_its_limits_and_what_it_does_not_know(provider: str) -> None:
    sections = re.split(r"^## ", reference(), flags=re.MULTILINE)
    (section,) = [s for s in sections if f"- `provider: {provider}`" in s]

    assert list(LABELS) == re.findall(r"^\*\*([A-Z][a-z-]+)\.\*\* ", section, re.MULTILINE)
    assert "- rights: " in section


def test_the_page_of_the_configuration_has_every_key() -> None:
    of_sections = {
        f"{n}.{key}" for n, model in settings.sections().items() for key in model.model_fields
    }
    of_lists = {
        f"{n}[].{key}" for n, model in settings.lists().items() for key in model.model_fields
    }
    of_providers = {
        f"{name}: {key}"
        for name, provider in catalogue().items()
        for key in provider.model_fields.keys() - Provider.model_fields.keys()
    }

    told = set(re.findall(r"^\| `([^`]+)` \|", page(), re.MULTILINE))

    assert told == of_sections | of_lists | of_providers | Provider.model_fields.keys()
