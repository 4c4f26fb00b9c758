"""All commands of `rolloutplan`, one row each.

To add a command: write a module with a function that typer can read and that returns the exit code, and add a row. The
module is imported only when its command is called, so that the other commands do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rolloutplan.cli.usage import Entry, Section

_PLANS: Final = Section("plans in a cluster")
_COMMANDS: Final = Section("commands to plans")
_FILES: Final = Section("files, without a cluster")
_HIDDEN: Final = Section("", hidden=True)
"""For the operator's image and for those who build it."""


def _send(name: str, words: str, reason: str, function: str = "send_command") -> Entry:
    return Entry(name, _COMMANDS, words, f"-n shop checkout-v2 --reason '{reason}'", f"command:{function}")


COMMANDS: Final[Sequence[Entry]] = (
    Entry("list", _PLANS, "list plans, those that need a person first", "-A", "views.plans:list_plans"),
    Entry("status", _PLANS, "show a plan: stages, verdicts, what to do", "checkout-v2 -w", "views.status:status"),
    Entry("why", _PLANS, "explain the last decision, and how to undo it", "checkout-v2", "views.why:why"),
    Entry("triage", _PLANS, "show the evidence, and the ways to go on", "checkout-v2", "views.triage:triage"),
    Entry("history", _PLANS, "show the decisions about a plan", "checkout-v2 -o yaml", "views.history:history"),
    Entry("tail", _PLANS, "print the decisions about all plans as they come", "-A", "views.tail:tail"),
    Entry("record", _PLANS, "show what went out, and how it ended", "checkout-v2 --run 3", "views.records:record"),
    Entry("lint", _FILES, "check plans, templates, metric sources and policies in files", "plan.yaml --strict"),
    Entry("simulate", _FILES, "show the timeline that the plans in files would take", "plan.yaml --traffic 12/s"),
    Entry("rehearse", _FILES, "run the plans in files through, with faults", "plan.yaml --fault 'errors=5% at 25%'"),
    Entry("judge", _FILES, "judge counts from a CSV with the operator's own test", "looks.csv --vs-old '> 1.5x'"),
    Entry(
        "next",
        _FILES,
        "write the next release for Git",
        "release.yaml --image shop/checkout:1.2.0",
        "next:next_release",
    ),
    Entry("convert", _FILES, "turn Rollouts of Argo and Canaries of Flagger into plans", "rollout.yaml > plan.yaml"),
    _send("pause", "hold the weights; guards stay on", "incident 4711"),
    _send("resume", "continue after a pause, or after a hold that needs a person", "incident 4711 is over"),
    _send("approve", "approve the next stage, or the removal of the old side", "seen the dashboards", "approve"),
    _send("abort", "restore the old weights now and end the run", "customers complain"),
    _send("retry", "start a rolled-back or finished plan again", "the database is back"),
    _send("promote", "go straight to the last weight, without the stages in between", "urgent fix"),
    _send("skip", "end the current stage as if it had passed", "no traffic at night"),
    _send("revert", "restore the old weights, even after the run has succeeded", "wrong prices"),
    _send("adopt", "take up a run whose status was lost, held at the present weights", "the status was deleted"),
    Entry("init", _PLANS, "write a first plan from two Deployments and a route that exist", "-n shop -f plan.yaml"),
    Entry("diff", _PLANS, "show what applying files would change, and what that does to runs", "-n shop plan.yaml"),
    Entry("wait", _PLANS, "wait for the end of a plan, for pipelines", "checkout-v2 --timeout 4h", wrong=3),
    Entry(
        "replay", _PLANS, "show what would have been decided, evaluation by evaluation", "checkout-v2 --trust-source"
    ),
    Entry("undo", _PLANS, "print a kubectl command that restores the old weights without the operator", "checkout-v2"),
    Entry("uninstall", _PLANS, "check what an uninstall of the operator would leave", "--check"),
    Entry("version", _PLANS, "show the versions of client, operator and CRDs", "-o json", "views.version:version"),
    Entry("operator", _HIDDEN, "run the operator (KUBECONFIG, else in-cluster)", "--namespace shop", "serve:serve"),
    Entry("crds", _HIDDEN, "write the custom resource definitions", "deploy/crds", "pages:crds"),
    Entry("reference", _HIDDEN, "write the field reference, in Markdown", "docs/reference.md", "pages:reference"),
    Entry("states", _HIDDEN, "write all states and decisions, in Markdown", "docs/states.md", "pages:states"),
    Entry("rights", _HIDDEN, "write the rights on each kind of route, for the chart", "routers.yaml", "pages:rights"),
    Entry("routers", _HIDDEN, "write what is known of each kind of route", "docs/routers.md", "pages:routers"),
    Entry("gitops", _HIDDEN, "write what Argo CD and Flux need to know", "deploy/gitops", "pages:gitops"),
    Entry("dashboard", _HIDDEN, "write the dashboard for Grafana, as JSON", "rolloutplan.json", "pages:dashboard"),
)
