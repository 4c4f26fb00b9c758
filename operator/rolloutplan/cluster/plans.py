"""RolloutPlans in the API server: reading them, writing their status and their metadata.

Objects come from the watches and become `PlanView`s of the engine; statuses and metadata come from its effects.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from rolloutplan.api import safe_get
from rolloutplan.api.command import ANNOTATION as COMMAND
from rolloutplan.api.command import MAX_COMMAND, SENDER, CommandError, answer_to, read_command
from rolloutplan.api.limits import UNREAD, TooLargeError, size_of, spec_of
from rolloutplan.api.managed_fields import annotation_written_by
from rolloutplan.api.reasons import StatusReason
from rolloutplan.api.spec import SpecError, read_begun_spec, read_plan_spec
from rolloutplan.api.status import RUNNING
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Raw, ResourceClient
from rolloutplan.engine.model.plan_view import NeedsTemplates, PlanContent, PlanView, Readable, Unreadable
from rolloutplan.engine.model.snapshot import FINALIZER, REVERT

COMMITTED_AT: Final = "rolloutplan.dev/committed-at"
"""The annotation by which a pipeline says when the change was committed: an instant such as 2026-03-01T09:00:00Z."""
COMMANDS_KEPT: Final = 5
SELF_DECLARED: Final = "(self-declared)"
"""Behind the name of a field manager: the client chose it, so it is no proof of who it was."""
LONGEST_USER: Final = 253
"""Characters of a user's name that are kept; those of service accounts are shorter than twice a DNS name."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def view(raw: Mapping[str, Any], known: PlanView | None = None, *, authenticated: bool = False) -> PlanView:
    """Read a plan. Never raises: its content says why it cannot be read.

    `authenticated`: an admission policy makes sure that a command names the user who wrote it.

    A spec with references has no templates until they are looked up. Where `known` is a view of the same generation,
    its content is reused: parsing the spec is most of the work. Where it is a view of an earlier generation and this
    one cannot be read, the plan in it stays in force.
    """
    meta = raw["metadata"]
    command, answered = _command(meta), safe_get.items(raw, "status", "tokens")
    before = known if known and known.uid == meta["uid"] else None
    if before and before.generation == safe_get.number(meta, "generation") and not is_for_now(before.content):
        content = with_begun(raw, before.content)
    else:
        content = with_begun(raw, _content(raw, before.last_good if before else None))
    return PlanView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=safe_get.number(meta, "generation"),
        created=safe_get.instant(meta, "creationTimestamp") or _EPOCH,
        content=content,
        deleting=safe_get.instant(meta, "deletionTimestamp"),
        finalizer=FINALIZER in safe_get.items(meta, "finalizers"),
        undo_annotation=safe_get.text(meta, "annotations", REVERT),
        undo_by=annotation_written_by(meta, REVERT),
        command=command,
        command_by=_command_writer(meta, authenticated=authenticated),
        edited_by=_last_writer(meta, "f:spec"),
        rewritten=is_rewritten(before, command, answered),
        replaced=replaced_commands(before, command, answered),
        labels=safe_get.mapping(meta, "labels"),
        version=str(meta.get("resourceVersion", "")),
        finalizers=tuple(map(str, safe_get.items(meta, "finalizers"))),
        committed_at=safe_get.instant(meta, "annotations", COMMITTED_AT),
        annotated=meta.get("annotations") is not None,
    )


def size_of_metadata(meta: Mapping[str, Any], *, ended: bool) -> int:
    """The bytes of what a view keeps of a plan's metadata and people write: they count like those of its spec.

    The undo command counts only without a run: in a run the operator writes it.
    """
    undo = safe_get.text(meta, "annotations", REVERT) if ended else ""
    return size_of([safe_get.mapping(meta, "labels"), list(safe_get.items(meta, "finalizers")), _command(meta), undo])


def _command(meta: Mapping[str, Any]) -> str:
    """The command as written; of one that is too long, so much that it is refused."""
    return safe_get.text(meta, "annotations", COMMAND)[: MAX_COMMAND + 1]


def replaced_commands(
    before: PlanView | None, command: str, answered: Collection[object]
) -> tuple[tuple[str, str], ...]:
    """The commands seen before the present one, and who wrote them; without those that were answered.

    `answered` are the entries of the answered ones: the engine forgets them in the end, and would answer again.
    """
    if before is None:
        return ()
    seen = before.replaced
    if before.command and command and before.command != command:
        seen = (*seen, (before.command, before.command_by))[-COMMANDS_KEPT:]
    return tuple(each for each in seen if not _is_answered(each[0], answered))


def is_rewritten(before: PlanView | None, command: str, answered: Collection[object]) -> bool:
    """Whether a command was seen to be written that had been answered before."""
    if before is None or not command:
        return False
    return before.rewritten if before.command == command else _is_answered(command, answered)


def _is_answered(command: str, answered: Collection[object]) -> bool:
    try:
        return answer_to(map(str, answered), read_command(command)) is not None
    except CommandError:
        return False


def _command_writer(meta: Mapping[str, Any], *, authenticated: bool) -> str:
    """Who wrote the command; "" where there is no command, or its writer is unknown.

    That is the user, where that is certain; else the field manager, which each client chooses for itself.
    """
    if not safe_get.text(meta, "annotations", COMMAND):
        return ""
    if authenticated and (user := safe_get.text(meta, "annotations", SENDER)):
        return user[:LONGEST_USER]
    manager = _last_writer(meta, "f:metadata", "f:annotations", f"f:{COMMAND}")
    return f"{manager} {SELF_DECLARED}" if manager else ""


def _last_writer(meta: Mapping[str, Any], *path: str) -> str:
    """The field manager that last wrote under this path; "" where it is unknown."""
    *above, field = path
    owned = (
        entry for entry in safe_get.items(meta, "managedFields") if field in safe_get.mapping(entry, "fieldsV1", *above)
    )
    last = max(owned, key=lambda entry: safe_get.text(entry, "time"), default=None)
    return safe_get.text(last, "manager")


def is_for_now(content: PlanContent) -> bool:
    """Whether a plan was not read for a reason outside of it."""
    return isinstance(content, Unreadable) and content.for_now


def _content(raw: Mapping[str, Any], last_good: Readable | None) -> PlanContent:
    if UNREAD not in raw and not isinstance(raw.get("spec"), Mapping):
        return Unreadable("spec: required field is missing", last_good)
    try:
        spec = read_plan_spec(spec_of(raw))
    except TooLargeError as error:
        return Unreadable(str(error), last_good, StatusReason.TOO_LARGE)
    except SpecError as error:
        return Unreadable(str(error), last_good)
    return NeedsTemplates(spec) if spec.has_references else Readable(spec)


def with_begun(raw: Mapping[str, Any], content: PlanContent) -> PlanContent:
    """The content; of a refused plan, with that with which its run began, where no other valid version is known.

    An upgrade must not take its guards from a run because the new reader refuses what the former one accepted.
    """
    begun = safe_get.text(raw, "status", "planHash") if safe_get.text(raw, "status", "phase") in RUNNING else ""
    if not isinstance(content, Unreadable) or content.last_good is not None or begun in ("", content.tried):
        return content
    spec = read_begun_spec(safe_get.mapping(raw, "spec"), begun)
    return replace(content, last_good=Readable(spec) if spec else None, tried=begun)


async def write_status(api: ResourceClient, plan: PlanView, patch: Mapping[str, Any]) -> Raw:
    """Write the differences of a status; returns the plan after the write.

    Raises ApiError; 409 means that the plan is no longer at the version of its view: read and decide again.
    """
    body = {"metadata": {"resourceVersion": plan.version}, "status": patch}
    return await api.patch(paths.plan(plan.namespace, plan.name, "status"), body)


async def patch_metadata(api: ResourceClient, plan: PlanView, *, finalizer: bool, undo_annotation: str) -> Raw | None:
    """Add or remove our finalizer on a plan, and set the undo command ("" removes it).

    Returns the plan after the write, None where nothing had to be written. Raises ApiError; 422 means that the plan has
    changed since it was seen.
    """
    patch = metadata_patch(plan, finalizer=finalizer, undo_annotation=undo_annotation)
    return await api.patch(paths.plan(plan.namespace, plan.name), patch, kind="json") if patch else None


def metadata_patch(plan: PlanView, *, finalizer: bool, undo_annotation: str) -> list[dict[str, Any]]:
    """The JSON Patch for `patch_metadata`; empty where nothing differs. Other finalizers and annotations stay."""
    patch: list[dict[str, Any]] = []
    if finalizer and not plan.finalizer:
        last = {"path": "/metadata/finalizers/-", "value": FINALIZER}
        only = {"path": "/metadata/finalizers", "value": [FINALIZER]}
        patch.append({"op": "add", **(last if plan.finalizers else only)})
    elif not finalizer and plan.finalizer:
        patch.append({"op": "remove", "path": f"/metadata/finalizers/{plan.finalizers.index(FINALIZER)}"})
    annotation = f"/metadata/annotations/{REVERT.replace('/', '~1')}"
    if undo_annotation and plan.undo_annotation != undo_annotation:
        if not plan.annotated:
            patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        patch.append({"op": "add", "path": annotation, "value": undo_annotation})
    elif not undo_annotation and plan.undo_annotation:
        patch.append({"op": "remove", "path": annotation})
    if patch:
        patch.insert(0, {"op": "test", "path": "/metadata/resourceVersion", "value": plan.version})
    return patch
