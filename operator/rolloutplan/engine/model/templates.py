"""Chooses the templates of a plan: those with which its run began, else the present ones.

The store calls it with the plan, its status and the known templates; the result is the plan of the facts.
"""

from __future__ import annotations

from dataclasses import replace

from rolloutplan.api.resolve import TemplateLookup, resolve, snapshot_lookup
from rolloutplan.api.status import RUNNING, Status
from rolloutplan.engine.model.plan_view import NeedsTemplates, PlanView, Readable, Unreadable


def judged_by(plan: PlanView, status: Status, known: TemplateLookup) -> PlanView:
    """The plan with its references replaced by predicates; with a missing template it has no spec.

    A plan that was edited during a run may refer to a template with which its run did not begin: the present one is
    used. If that is missing, the plan has no spec. It can still roll back: the rollback rules use the spec as written.
    """
    content, written = plan.content, plan.written
    if isinstance(content, Unreadable):
        return replace(plan, content=_with_templates(content, status))
    if written is None or not written.has_references:
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


def _with_templates(content: Unreadable, status: Status) -> Unreadable:
    """The plan with which a run began, read after that: with the templates that the run keeps."""
    good = content.last_good
    if good is None or not good.spec.has_references:
        return content
    found = resolve(good.spec, snapshot_lookup(status.templates, None))
    judged = None if found.problems else Readable(found.spec, status.templates)
    return replace(content, last_good=judged)
