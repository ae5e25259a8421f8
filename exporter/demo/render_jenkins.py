"""Builds of Jenkins as the unified API tells them."""

from __future__ import annotations

from exporter.demo.facts import Facts, Item, View, committed, triggers
from exporter.demo.timestamps import iso, milliseconds
from exporter.demo.vocabulary import CONCLUSION, STATUS
from exporter.model import Status


def build(view: View) -> Item:
    """A build as its single-build endpoint tells it."""
    run, now = view.run, view.now
    words = CONCLUSION["jenkins"]
    facts = Facts.at(run, now, STATUS["jenkins"], words)
    cause, trigger = triggers("jenkins", run)
    by_hand = run.trigger == "web" and run.actor is not None
    person = {"userId": run.actor, "userName": run.actor} if by_hand else {}
    item = listed(view)
    started, ended = run.started_at or 0.0, facts.completed_at
    item |= {
        "status": facts.phase if facts.phase is Status.COMPLETED else Status.IN_PROGRESS,
        "conclusion": facts.unified,
        "trigger": trigger,
        "started_at": iso(started, 3),
        "completed_at": iso(ended, 3),
    }
    item["remote_data"] |= {
        "id": run.id,
        "result": facts.conclusion,
        "building": ended is None,
        "timestamp": milliseconds(started),
        "duration": 0 if ended is None else milliseconds(ended) - milliseconds(started),
        "fullDisplayName": item["name"],
        "actions": [
            {"_class": "hudson.model.CauseAction", "causes": [{"_class": cause, **person}]},
            {},
            {
                "_class": "hudson.plugins.git.util.BuildData",
                "lastBuiltRevision": {
                    "SHA1": run.commit,
                    "branch": [{"SHA1": run.commit, "name": f"refs/remotes/origin/{run.branch}"}],
                },
            },
        ],
        "changeSets": [
            {
                "kind": "git",
                "items": [
                    {
                        "commitId": run.commit,
                        "msg": run.title,
                        "timestamp": milliseconds(committed(run)),
                    }
                ],
            }
        ],
    }
    return item


def listed(view: View) -> Item:
    """A build as a list tells it, which is less."""
    repo, run = view.repo, view.run
    path = "".join(f"job/{part}/" for part in repo.entry.split("/"))
    return {
        "id": run.id,
        "build": run.id,
        "number": run.number,
        "name": f"{repo.entry.rpartition('/')[2]} #{run.number}",
        "workflow": repo.entry,
        "remote_data": {
            "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
            "number": run.number,
            "url": f"https://jenkins.example/{path}{run.number}/",
        },
    }
