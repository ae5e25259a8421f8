"""A good entry has no fault, and a bad one says what to write."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from exporter.providers import catalogue
from exporter.providers.truto import INTEGRATIONS, Truto
from tests.contract.providers.truto import BITBUCKET, ENTRIES, FakeApi, detail, one, truto
from tests.tools.emulators.rig import entries

GOOD = [
    ("github", "acme/shop"),
    ("github", "acme/*"),
    ("azuredevops", "ws"),
    ("azuredevops", "ws/shop"),
    ("azuredevops", "ws/johndoe/shop"),
    ("azuredevops", "*"),
    ("bitbucket", "acme/shop"),
    ("bitbucket", "acme/*"),
    ("circleci", "gh/acme/shop"),
    ("circleci", "circleci/6f2a/77be"),
    ("jenkins", "shop"),
    ("jenkins", "folder/with spaces/shop"),
    ("jenkins", "*"),
    ("travisci", "15022857"),
    ("travisci", "acme/shop"),
    ("travisci", "*"),
    ("buddy", "acme/shop/77"),
]
BAD = [
    ("github", "acme", "owner/name or owner/*"),
    ("github", "acme/shop/x", "owner/name"),
    ("github", "/shop", "owner/name"),
    ("github", "*", "owner/*"),
    ("github", "acme/**", "owner/*"),
    ("github", "acme/sh*", "owner/*"),
    ("github", " acme/shop", "space"),
    ("azuredevops", "/", "workspace_id/repo"),
    ("azuredevops", "ws/", "workspace_id/repo"),
    ("azuredevops", "ws/*", "write workspace_id or workspace_id/repo or *"),
    ("bitbucket", "shop", "workspace_id/repo or workspace_id/*"),
    ("bitbucket", "*", "workspace_id/*"),
    ("circleci", "acme/shop", "vcs/org/repo"),
    ("circleci", "gh/acme/*", "nothing can be discovered here (write each vcs/org/repo)"),
    ("jenkins", "folder/*", "write workflow_id or *"),
    ("travisci", "acme/*", "write repo_id or *"),
    ("buddy", "acme/shop", "workspace/project/workflow"),
    ("buddy", "acme/*", "nothing can be discovered here"),
]


@pytest.mark.parametrize(("integration", "entry"), GOOD)
def test_a_good_entry_has_no_fault(integration, entry):
    assert [] == Truto.faults(dict(truto(integration, repos=[entry])))


@pytest.mark.parametrize(("integration", "entry", "hint"), BAD)
def test_a_bad_entry_says_what_to_write(integration, entry, hint):
    account = dict(truto(integration, repos=[ENTRIES[integration], entry]))
    ((place, fault),) = Truto.faults(account)

    assert ("repos", 1) == place
    assert hint in fault
    assert "\n" not in fault


def test_buddy_has_jobs_by_default_and_nothing_without():
    assert truto("buddy").jobs
    assert not truto("github").jobs
    ((place, fault),) = Truto.faults(dict(truto("buddy", jobs=False)))
    assert ("jobs",) == place
    assert "nothing but jobs" in fault


def test_jenkins_may_ask_for_jobs_it_does_not_have():
    assert [] == Truto.faults(dict(truto("jenkins", jobs=True)))


@pytest.mark.parametrize(
    "keys", [{"integrated_account_id": ""}, {"integration": "gitlab"}, {"provider": "github"}]
)
def test_an_account_that_cannot_be_is_refused(keys):
    with pytest.raises(ValidationError):
        truto("github", **keys)


def test_repos_may_be_numbers():
    assert ["15022857"] == truto("travisci", repos=[15022857]).repos


def test_the_provider_label_is_the_native_providers():
    assert {
        "github": "github",
        "azuredevops": "azure_devops",
        "bitbucket": "bitbucket",
        "circleci": "circleci",
        "jenkins": "jenkins",
        "travisci": "travis",
        "buddy": "buddy",
    } == {integration: truto(integration).label for integration in INTEGRATIONS}


def test_every_integration_can_be_configured_and_the_catalogue_has_the_provider():
    assert set(INTEGRATIONS) == set(get_args(Truto.model_fields["integration"].annotation))
    assert Truto is catalogue()["truto"]
    assert "https://api.truto.one" == truto("github").root


def test_the_token_is_sent_as_bearer():
    provider = truto("github")

    assert {"Authorization": "Bearer t0k", "Accept": "application/json"} == provider.headers("t0k")
    assert {"Accept": "application/json"} == provider.headers(None)


def test_a_workspace_covers_its_repos():
    provider = truto("azuredevops")

    assert ["ws"] == entries(provider, "ws/shop", "ws")
    assert ["ws", "ws-2/shop"] == entries(provider, "ws", "ws-2/shop")
    assert ["folder", "folder/shop"] == entries(truto("jenkins"), "folder", "folder/shop")


def test_only_jenkins_numbers_have_no_holes():
    assert ["jenkins"] == [i for i in INTEGRATIONS if truto(i).consecutive_numbers]


def test_an_account_stays_equal_to_itself_whatever_it_remembers():
    provider = truto("bitbucket")
    detail(provider, FakeApi(), one("bitbucket", BITBUCKET))

    assert truto("bitbucket") == provider
