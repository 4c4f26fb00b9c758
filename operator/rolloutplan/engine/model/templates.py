"""Which templates a plan is judged by: those that its run began with, else those that there are now."""

from __future__ import annotations

from dataclasses import replace

from rolloutplan.api.resolve import TemplateLookup, resolve, snapshot_lookup
from rolloutplan.api.status import RUNNING, Status
from rolloutplan.engine.model.plan_view import NeedsTemplates, PlanView, Readable, Unreadable


def judged_by(plan: PlanView, status: Status, known: TemplateLookup) -> PlanView:
    """The plan with predicates in the place of its references; one that cannot be had leaves it without a spec.

    A plan that was edited in mid-run may name what its run did not begin with: that is taken as it is now. Where it
    cannot be had the plan has no spec, and goes back all the same: the rules that lead back look at it as written.
    """
    content, written = plan.content, plan.written
    if isinstance(content, Unreadable) or written is None or not written.has_references:
        return plan
    running, edited = status.phase in RUNNING, written.plan_hash() != status.plan_hash
    if running and not edited and isinstance(content, Readable) and content.templates == status.templates:
        return plan
    kept = snapshot_lookup(status.templates, known if edited else None)
    found = resolve(written, kept if running else known)
    if found.problems:
        first = found.problems[0]
        return replace(plan, content=NeedsTemplates(written, f"{first.path}: {first.words}", first.why))
    used = status.templates if running and not edited else tuple(template.to_status() for template in found.used)
    return replace(plan, content=Readable(found.spec, used))
