"""Every documented word has a meaning, and it is that of its own system."""

from __future__ import annotations

import pytest

from exporter.model import Status
from exporter.model import vocabulary as w
from exporter.providers.truto import INTEGRATIONS
from tests.contract.providers.truto import COMPLETED, GITHUB, one

DOCUMENTED: dict[str, dict[str, str]] = {
    "github": {
        "status": "queued in_progress completed waiting requested pending",
        "conclusion": (
            "success failure neutral cancelled skipped timed_out action_required stale"
            " startup_failure"
        ),
        "trigger": (
            "push pull_request pull_request_target schedule workflow_dispatch"
            " repository_dispatch merge_group workflow_run release issue_comment dynamic"
        ),
    },
    "azuredevops": {
        "status": "none inProgress completed cancelling postponed abandoned notStarted",
        "conclusion": (
            "none succeeded partiallySucceeded failed canceled succeededWithIssues skipped"
            " abandoned manuallyQueued dependentOnManualQueue"
        ),
        "trigger": (
            "none manual individualCI batchedCI schedule scheduleForced userCreated"
            " validateShelveset checkInShelveset pullRequest buildCompletion resourceTrigger"
            " triggered"
        ),
    },
    "bitbucket": {
        "status": (
            "PARSING PENDING PAUSED HALTED BUILDING IN_PROGRESS COMPLETED READY ERROR PASSED"
            " FAILED STOPPED"
        ),
        "conclusion": "SUCCESSFUL FAILED ERROR STOPPED EXPIRED NOT_RUN",
        "trigger": "PUSH MANUAL SCHEDULED SCHEDULE PARENT_STEP",
    },
    "circleci": {
        "status": "not_running queued blocked on_hold running failing",
        "conclusion": (
            "success failed error canceled unauthorized not_run retried timedout"
            " infrastructure_fail terminated-unknown"
        ),
        "trigger": "explicit api webhook schedule scheduled_pipeline",
    },
    "jenkins": {
        "status": "IN_PROGRESS PAUSED_PENDING_INPUT QUEUED RUNNING PAUSED FINISHED",
        "conclusion": "SUCCESS UNSTABLE FAILURE NOT_BUILT ABORTED NOT_EXECUTED FAILED",
        "trigger": (
            "hudson.model.Cause$UserIdCause hudson.triggers.TimerTrigger$TimerTriggerCause"
            " hudson.model.Cause$UpstreamCause jenkins.branch.BranchIndexingCause"
        ),
    },
    "travisci": {
        "status": "created queued received started passed failed errored canceled",
        "conclusion": "passed failed errored canceled",
        "trigger": "push pull_request cron api",
    },
    "buddy": {
        "status": ("ENQUEUED INPROGRESS INITIAL SUCCESSFUL FAILED TERMINATED SKIPPED NOT_EXECUTED"),
        "conclusion": "SUCCESSFUL FAILED TERMINATED SKIPPED NOT_EXECUTED",
        "trigger": "",
    },
}
MEANINGS = [
    ("github", "waiting", None, Status.WAITING, None),
    ("github", "pending", None, Status.WAITING, None),
    ("github", "completed", "timed_out", COMPLETED, "timeout"),
    ("azuredevops", "cancelling", None, Status.IN_PROGRESS, None),
    ("azuredevops", "abandoned", None, COMPLETED, "error"),
    ("bitbucket", "halted", None, Status.WAITING, None),
    ("bitbucket", "completed", "error", COMPLETED, "error"),
    ("bitbucket", "stopped", None, COMPLETED, "cancelled"),
    ("circleci", "on_hold", None, Status.WAITING, None),
    ("circleci", "infrastructure_fail", None, COMPLETED, "error"),
    ("circleci", "not_run", None, COMPLETED, "skipped"),
    ("circleci", "retried", None, COMPLETED, "retried"),
    ("jenkins", "paused_pending_input", None, Status.WAITING, None),
    ("jenkins", "completed", "not_built", COMPLETED, "skipped"),
    ("travisci", "errored", None, COMPLETED, "error"),
    ("travisci", "received", None, Status.QUEUED, None),
    ("buddy", "waiting_for_apply", None, Status.WAITING, None),
    ("buddy", "terminated", None, COMPLETED, "cancelled"),
]


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_every_documented_word_is_in_a_table(integration):
    words = INTEGRATIONS[integration].words
    states, conclusions, triggers = (
        DOCUMENTED[integration][field].lower().split()
        for field in ("status", "conclusion", "trigger")
    )

    said = [
        *(w.resolve_state(words, word, None, started=None, ended=None).unmapped for word in states),
        *(
            w.resolve_state(words, "completed", word, started=None, ended=None).unmapped
            for word in conclusions
        ),
        *(w.trigger(words, word)[1] for word in triggers),
    ]

    assert not [unknown for unknown in said if unknown]


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_the_unified_words_mean_themselves_everywhere(integration):
    words = INTEGRATIONS[integration].words
    named = ["passed", "failed", "cancelled", "timeout", "skipped", "retried", "partial"]

    assert named == [words.conclusion[word] for word in named]
    for status in (Status.QUEUED, Status.IN_PROGRESS, COMPLETED):
        assert status == words.status[status.value]
    for word in ("push", "merge_request", "api", "cron", "web"):
        assert word == words.trigger[word]


@pytest.mark.parametrize(("integration", "status", "conclusion", "stands", "ends"), MEANINGS)
def test_native_words_mean_what_their_system_means(integration, status, conclusion, stands, ends):
    words = INTEGRATIONS[integration].words

    state = w.resolve_state(words, status, conclusion, started=None, ended=None)

    assert (stands, ends, ()) == (state.status, state.conclusion, state.unmapped)


def test_all_words_of_the_tables_are_in_lower_case():
    for how in INTEGRATIONS.values():
        for table in (how.words.status, how.words.conclusion, how.words.trigger):
            assert all(word == word.lower() for word in table)


def test_an_unbearably_long_word_is_cut():
    build = one("github", GITHUB | {"trigger": "x" * 5000})

    assert len(build.unmapped[0].word) == 100
