"""The families at `/metrics/worker`: what one of several exporters shows of itself alone.

The histogram of the ledger has the bounds `LEDGER_BUCKETS`.
"""

from __future__ import annotations

from exporter.metrics.families import Family

LEDGER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""Seconds."""

ACCOUNTS = Family(
    "cicd_exporter_worker_accounts", "gauge", (), "Accounts that this exporter polls."
)
LEASE_CHANGES = Family(
    "cicd_exporter_worker_lease_changes_total",
    "counter",
    ("change",),
    "Leases of groups of accounts that were taken, given back or lost.",
    zeros=("taken", "given_back", "lost"),
)
FENCED = Family(
    "cicd_exporter_worker_fenced_total",
    "counter",
    (),
    "Transactions that came too late, as another exporter polls the account.",
)
BEHIND = Family(
    "cicd_exporter_worker_behind_total",
    "counter",
    (),
    "Times that the state had to be loaded anew.",
)
SECONDS = Family(
    "cicd_exporter_ledger_seconds",
    "histogram",
    ("step",),
    "How long the database took for a commit, a read of the feed, or a beat.",
    zeros=("commit", "feed", "beat"),
)
IMAGES = Family(
    "cicd_exporter_feed_images_total",
    "counter",
    (),
    "Commits read that changed what is shown.",
)

WORKER_FAMILIES = (ACCOUNTS, LEASE_CHANGES, FENCED, BEHIND, SECONDS, IMAGES)
