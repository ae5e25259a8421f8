"""No payload breaks the reading, whatever comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.model import Status
from exporter.providers.truto import INTEGRATIONS, payload
from tests.contract.providers.truto import COMPLETED, FakeApi, detail, listed, page, truto

KEYS = [
    *("state", "name", "result", "target", "type", "selector", "pattern", "vcs", "tag", "branch"),
    *("actions", "causes", "_class", "lastBuiltRevision", "stage", "definition", "repository"),
    *("id", "timestamp", "duration", "building", "queueTime", "head_repository", "full_name"),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.sampled_from(["completed", "passed", "in_progress", "2026-11-20T09:00:00Z", "refs/tags/v"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["1", 2]) | ANYTHING},
        optional=dict.fromkeys(payload.Run.__struct_fields__[1:], ANYTHING),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(integration=st.sampled_from(list(INTEGRATIONS)), builds=ITEMS, jobs=ITEMS)
def test_no_payload_breaks_the_reading(integration, builds, jobs):
    provider = truto(integration, jobs=True)
    api = FakeApi(builds=listed(*builds), jobs=listed(*jobs))
    found = page(provider, api)
    for build in found.builds:
        full = detail(provider, api, build)
        assert full.status in Status
        assert (full.status is COMPLETED) or full.conclusion is None
        assert full.key.id
