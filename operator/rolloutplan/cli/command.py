"""Send a command to a plan: write it as an annotation, then read the operator's decision from the status.

The decision is printed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Annotated, Any, Final, TypeAlias

import typer

from rolloutplan.api import safe_get
from rolloutplan.api.command import ANNOTATION, SENDER, Command, CommandError, Verb, answer_to, write_command
from rolloutplan.api.printable import printable
from rolloutplan.api.text_format import DNS_LABEL
from rolloutplan.cli.options import Namespace, PlanName, reads, seconds
from rolloutplan.cli.output import fail
from rolloutplan.cluster import paths
from rolloutplan.cluster.client import Api, ApiError, Raw, read_namespace

FIELD_MANAGER: Final = "rolloutplan-cli"
SELF_REVIEW: Final = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
POLL_EVERY: Final = 0.2
NAME_WITHIN: Final = 2.0
"""Seconds to ask for the sender's name: an abort is not kept waiting for it."""
ACTED, FAILED, REFUSED = 0, 1, 3


Reason: TypeAlias = Annotated[
    str, typer.Option(metavar="WORDS", help="the reason, which the decision and its Event show")
]
Token: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T", help="a command is carried out once per token (default: a new one)")
]
Wait: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        parser=reads(seconds),
        help="how long to wait for the operator's answer (default: 5; 0: do not wait)",
    ),
]


def send_command(
    ctx: typer.Context,
    plan: PlanName,
    namespace: Namespace = None,
    reason: Reason = "",
    token: Token = None,
    wait: Wait = 5.0,
) -> int:
    """It is written as an annotation, and the operator's answer is printed.

    Exit 0 if it was carried out, 1 without an answer in time, 3 if it was refused.
    """
    return _send_to(plan, namespace, wait, Verb(ctx.info_name or ""), token, reason)


def approve(
    plan: PlanName,
    namespace: Namespace = None,
    reason: Reason = "",
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            parser=reads(DNS_LABEL.read),
            help="the stage (or: contract) to approve, also before its turn (default: the one that waits)",
        ),
    ] = None,
    seal: Annotated[
        str, typer.Option(metavar="HASH", help="approve exactly what was seen: the hash that the plan's message shows")
    ] = "",
    token: Token = None,
    wait: Wait = 5.0,
) -> int:
    """It is written as an annotation, and the operator's answer is printed.

    Exit 0 if it was carried out, 1 without an answer in time, 3 if it was refused.
    """
    return _send_to(plan, namespace, wait, Verb.APPROVE, token, reason, stage or "", seal)


def _send_to(plan: str, namespace: str | None, wait: float, verb: Verb, token: str | None, *words: str) -> int:
    try:
        command = Command(verb, secrets.token_hex(4) if token is None else token, *words)
    except CommandError as error:
        return fail(str(error), 2)
    try:
        namespace = namespace or read_namespace()
        return asyncio.run(_send(command, plan, namespace, wait))
    except ApiError as error:
        return fail(explain(error, plan, namespace), FAILED)


async def _send(command: Command, plan: str, namespace: str, wait: float) -> int:
    path, text = paths.plan(namespace, plan), write_command(command)
    api = await Api.connect()
    try:
        body = {"metadata": {"annotations": {ANNOTATION: text, SENDER: await _user_name(api)}}}
        raw = await api.patch(path, body, field_manager=FIELD_MANAGER)
        print(f"{namespace}/{plan} {ANNOTATION}: {text}")
        if known := _answered_before(raw, command):
            return _print_decision(known, f"token {command.token} was answered before and is not carried out again: ")
        if not wait:
            return ACTED
        if answer := await _await_answer(api, path, command.token, wait, after=_newest(raw)):
            return _print_decision(answer)
    finally:
        await api.close()
    words = f"no answer within {wait:g} s; the command is on the plan, and the operator carries it out when it reads it"
    return fail(words, FAILED)


async def _user_name(api: Api) -> str | None:
    """Return the name by which the API server knows the sender; None, which removes that of a former one, if unknown.

    The command is sent without it: an abort must not fail because a name cannot be asked for.
    """
    try:
        found = await api.create(paths.self_review(), SELF_REVIEW, timeout=NAME_WITHIN)
    except ApiError:
        return None
    return safe_get.text(found, "status", "userInfo", "username") or None


async def _await_answer(api: Api, path: str, token: str, wait: float, *, after: int) -> Raw | None:
    """Return the decision on a token, of those with a number above `after`; None where none came in time.

    Raises ApiError if the last request failed.
    """
    deadline = time.monotonic() + wait
    problem: ApiError | None = None
    while (left := deadline - time.monotonic()) > 0:
        await asyncio.sleep(min(POLL_EVERY, left))
        try:
            raw, problem = await api.get(path, timeout=max(left, 1.0)), None
        except ApiError as error:
            problem = error
        else:
            if answer := _answer(raw, token, after):
                return answer
    if problem:
        raise problem
    return None


def _answered_before(raw: Raw, command: Command) -> Raw | None:
    """Return the newest decision on a command that was answered before; the token may be that of other commands too."""
    tokens = (raw.get("status") or {}).get("tokens") or ()
    return _answer(raw, command.token) if answer_to(map(str, tokens), command) else None


def _answer(raw: Raw, token: str, after: int = -1) -> Raw | None:
    found = (each for each in _decisions(raw) if each.get("token") == token and each.get("seq", 0) > after)
    return next(found, None)


def _newest(raw: Raw) -> int:
    return max((each.get("seq", 0) for each in _decisions(raw)), default=-1)


def _decisions(raw: Raw) -> list[dict[str, Any]]:
    """Return the decisions, the newest first. The operator may be newer than this program."""
    return [*reversed((raw.get("status") or {}).get("decisions") or [])]


def _print_decision(decision: Raw, before: str = "") -> int:
    words = f"{before}{printable(str(decision.get('note') or decision.get('reason')))}"
    if decision.get("reason") == "CommandRejected":
        return fail(words, REFUSED)
    print(words)
    return ACTED


def explain(error: ApiError, plan: str, namespace: str | None) -> str:
    match error.status:
        case 0 if error.reason != "NoConfig":
            return f"the API server cannot be reached: {error.message or error.reason}"
        case 404 if f'"{plan}"' in error.message:
            return f"there is no RolloutPlan {plan} in namespace {namespace}: see kubectl get rolloutplans -A"
        case 404:
            return "the CRDs are not installed in this cluster: install them with rolloutplan crds | kubectl apply -f -"
        case 401:
            return "the API server rejects your credentials: log in again"
        case 403:
            return f"not allowed: {error.message}"
        case _:
            return error.message or str(error)
