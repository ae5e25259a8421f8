"""The tables of a state file: how they are made, upgraded, and what may stand in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from exporter.ledger.sqlite import older_keys

APPLICATION_ID = 0x63696364  # "cicd"
VERSION = 6

_FIRST = """
CREATE TABLE cicd_exporter_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE target (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, repo TEXT NOT NULL,
    cursor BLOB NOT NULL, quiet INTEGER NOT NULL, UNIQUE (account, repo));
-- key has no type on purpose: decimal ids are kept as integers, which take a third of the room
CREATE TABLE attempt (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL,
    conclusion TEXT, listed REAL NOT NULL, flags INTEGER NOT NULL,
    PRIMARY KEY (account, key, attempt)) WITHOUT ROWID;
CREATE TABLE job (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL, job NOT NULL,
    listed REAL NOT NULL, PRIMARY KEY (account, key, attempt, job)) WITHOUT ROWID;
CREATE TABLE active (
    account INTEGER NOT NULL, key NOT NULL, attempt INTEGER NOT NULL,
    target INTEGER NOT NULL, build BLOB NOT NULL,
    PRIMARY KEY (account, key, attempt)) WITHOUT ROWID;
CREATE TABLE series (
    family TEXT NOT NULL, labels TEXT NOT NULL, vector BLOB NOT NULL,
    held BLOB, opened INTEGER NOT NULL, PRIMARY KEY (family, labels)) WITHOUT ROWID;
CREATE TABLE pipeline (
    labels TEXT PRIMARY KEY, target INTEGER NOT NULL, facts BLOB NOT NULL) WITHOUT ROWID;
"""

_ANSWERS = """
-- what is long stands last, so that `used` is read without it
CREATE TABLE answer (
    account INTEGER NOT NULL, url TEXT NOT NULL, shape TEXT NOT NULL, used REAL NOT NULL,
    reader BLOB NOT NULL, etag TEXT NOT NULL, packed BLOB NOT NULL,
    PRIMARY KEY (account, url, shape));
"""

_NATIVE = """
-- beside `series`, so that who wants no native histograms pays nothing for them
CREATE TABLE native (
    family TEXT NOT NULL, labels TEXT NOT NULL, spread BLOB NOT NULL,
    PRIMARY KEY (family, labels)) WITHOUT ROWID;
"""

_CLOCKS_AND_LIMITS = """
-- the end that was counted, and when the provider had last changed the build by then
ALTER TABLE attempt ADD COLUMN ended REAL;
ALTER TABLE attempt ADD COLUMN changed REAL;
-- what completed before has been forgotten: each account has a clock of its own
ALTER TABLE account ADD COLUMN pruned_to REAL;
UPDATE account
    SET pruned_to = (SELECT value FROM cicd_exporter_meta WHERE key = 'pruned_to');
UPDATE cicd_exporter_meta SET key = 'swept_at' WHERE key = 'pruned_to';
-- what an API has forbidden to a credential, and when all of that is over by our clock
CREATE TABLE budget (
    credential BLOB PRIMARY KEY, until REAL NOT NULL, limits BLOB NOT NULL) WITHOUT ROWID;
-- a page of its own, with other bytes each time that the file is opened
CREATE TABLE opening (mark BLOB NOT NULL);
"""

_POLLING = """
-- what the schedule knows of accounts and of their repos, so that a restart goes on with it
CREATE TABLE account_polling (account INTEGER PRIMARY KEY, polling BLOB NOT NULL);
CREATE TABLE repo_polling (
    account INTEGER NOT NULL, repo TEXT NOT NULL, polling BLOB NOT NULL,
    PRIMARY KEY (account, repo)) WITHOUT ROWID;
"""

_BUILD_KEYS = """
-- the start of a build, where its id may come again, is a column: 0 where there is none. Of two
-- texts that mean one key the first row stays, as both say that it was counted
ALTER TABLE attempt RENAME TO attempt_4;
CREATE TABLE attempt (
    account INTEGER NOT NULL, key NOT NULL, started INTEGER NOT NULL, attempt INTEGER NOT NULL,
    conclusion TEXT, listed REAL NOT NULL, flags INTEGER NOT NULL, ended REAL, changed REAL,
    PRIMARY KEY (account, key, started, attempt)) WITHOUT ROWID;
INSERT OR IGNORE INTO attempt
    SELECT account, build_key(key), build_started(key), attempt,
        conclusion, listed, flags, ended, changed FROM attempt_4;
DROP TABLE attempt_4;
ALTER TABLE job RENAME TO job_4;
-- run: of a job that runs again under its id when it began, else 0
CREATE TABLE job (
    account INTEGER NOT NULL, key NOT NULL, started INTEGER NOT NULL, attempt INTEGER NOT NULL,
    job NOT NULL, run INTEGER NOT NULL, listed REAL NOT NULL,
    PRIMARY KEY (account, key, started, attempt, job, run)) WITHOUT ROWID;
INSERT OR IGNORE INTO job
    SELECT account, build_key(key), build_started(key), attempt, job_id(job), job_run(job), listed
    FROM job_4;
DROP TABLE job_4;
ALTER TABLE active RENAME TO active_4;
CREATE TABLE active (
    account INTEGER NOT NULL, key NOT NULL, started INTEGER NOT NULL, attempt INTEGER NOT NULL,
    target INTEGER NOT NULL, build BLOB NOT NULL,
    PRIMARY KEY (account, key, started, attempt)) WITHOUT ROWID;
INSERT OR IGNORE INTO active
    SELECT account, build_key(key), build_started(key), attempt, target, rekeyed(build)
    FROM active_4;
DROP TABLE active_4;
"""

_SAMPLES = """
-- how many samples the pipelines of an account may show: counted anew at each start
ALTER TABLE account ADD COLUMN samples INTEGER;
-- unknown of older series, and of those that began with history
ALTER TABLE series ADD COLUMN created_at REAL;
"""

_BUILD_LOG = """
-- pipelines by their labels before any fold. unpruned: builds logged since it was last pruned
CREATE TABLE log_pipeline (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, account TEXT NOT NULL, repo TEXT NOT NULL,
    workflow TEXT NOT NULL, branch TEXT NOT NULL, unpruned INTEGER NOT NULL,
    UNIQUE (account, repo, workflow, branch, provider));
-- hash: of the commit. ref: the name of the branch where the label is another
CREATE TABLE build (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL, key NOT NULL, started INTEGER NOT NULL, attempt INTEGER NOT NULL,
    pipeline INTEGER NOT NULL, at REAL NOT NULL, number INTEGER, conclusion TEXT NOT NULL,
    hash TEXT, ref TEXT, details BLOB NOT NULL,
    UNIQUE (account, key, started, attempt));
CREATE INDEX build_by_time ON build (at);
CREATE INDEX build_by_pipeline ON build (pipeline, at);
"""

_FIFTH = _POLLING + _BUILD_KEYS + _SAMPLES
STEPS = {0: _FIRST, 1: _ANSWERS, 2: _NATIVE, 3: _CLOCKS_AND_LIMITS, 4: _FIFTH, 5: _BUILD_LOG}
"""What makes of a state file of one format one of the next; a new file takes all of them."""


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Make today's format of an older one; 0 is an empty file."""
    older_keys.install(connection)
    for step in range(version, VERSION):
        _execute(connection, STEPS[step])
        connection.execute(f"PRAGMA user_version = {step + 1}")


_COLUMNS = {
    "account": "id:integer name:text pruned_to:real|null samples:integer|null",
    "target": "account:integer repo:text cursor:blob quiet:integer",
    "attempt": "account:integer key:integer|text started:integer attempt:integer"
    " conclusion:text|null listed:real flags:integer ended:real|null changed:real|null",
    "job": "account:integer key:integer|text started:integer attempt:integer job:integer|text"
    " run:integer listed:real",
    "active": "account:integer key:integer|text started:integer attempt:integer target:integer"
    " build:blob",
    "series": "family:text labels:text vector:blob held:blob|null opened:integer"
    " created_at:real|null",
    "pipeline": "labels:text target:integer facts:blob",
    "native": "family:text labels:text spread:blob",
    "log_pipeline": "provider:text account:text repo:text workflow:text branch:text"
    " unpruned:integer",
    "build": "account:integer key:integer|text started:integer attempt:integer pipeline:integer"
    " at:real number:integer|null conclusion:text hash:text|null ref:text|null details:blob",
    "budget": "credential:blob until:real limits:blob",
    "account_polling": "account:integer polling:blob",
    "repo_polling": "account:integer repo:text polling:blob",
}
"""What each column holds: SQLite itself takes anything anywhere."""


def misplaced(connection: sqlite3.Connection) -> Iterator[str]:
    """A line for each table in which there is what its columns never hold."""
    for table, columns in _COLUMNS.items():
        faults = " OR ".join(
            f"typeof({name}) NOT IN ({', '.join(map(repr, types.split('|')))})"
            for name, _, types in (column.partition(":") for column in columns.split())
        )
        sql = f"SELECT count(*) FROM {table} WHERE {faults}"  # noqa: S608 - names of ours
        if rotten := connection.execute(sql).fetchone()[0]:
            yield f"{rotten} row(s) of {table} hold what does not belong there"


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements inside the transaction that there is."""
    for statement in script.split(";"):
        connection.execute(statement)
