"""The options of `rolloutplan operator` that say what plans are lent: Jobs, scaling, and in which namespaces.

cli/main.py adds them to its parser; the operator's `Options` get the result.
"""

from __future__ import annotations

import argparse
from typing import Final

from rolloutplan.engine.model.grants import Grants

SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
"""The cluster's own: whoever may write plans there would get a part in the cluster itself."""


def add_grant_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; without any of them, plans may move weights and nothing else."""
    none = Grants()
    lent = parser.add_argument_group("what plans may do in addition to moving weights (default: nothing)")
    lent.add_argument("--jobs", action="store_true", help="plans may run Jobs")
    lent.add_argument("--scaling", action="store_true", help="plans may scale their Deployments")
    for option, ceiling, words in (
        ("--max-parallelism", none.max_parallelism, "pods of a Job at a time"),
        ("--max-completions", none.max_completions, "pods of a Job that must succeed"),
        ("--max-backoff-limit", none.max_backoff_limit, "tries of a Job after the first"),
        ("--max-replicas", none.max_replicas, "replicas that a plan may set"),
    ):
        lent.add_argument(
            option, type=_count, default=ceiling, metavar="N", help=f"at most so many {words} ({ceiling})"
        )
    lent.add_argument(
        "--job-metadata",
        action="append",
        default=[],
        metavar="NAME",
        help="a label or annotation that Jobs and their pods may have, or a prefix as example.com/*; may be repeated",
    )
    lent.add_argument(
        "--own-account",
        default="",
        metavar="NAMESPACE/NAME",
        help="the operator's ServiceAccount, under which no Job runs",
    )
    parser.add_argument(
        "--exclude-namespace",
        action="append",
        default=[],
        metavar="NAMESPACE",
        help="serve all namespaces but this one and the cluster's own; may be repeated; ignored with --namespace",
    )


def grants(chosen: argparse.Namespace) -> Grants:
    """What the options lend."""
    return Grants(
        jobs=chosen.jobs,
        scaling=chosen.scaling,
        max_parallelism=chosen.max_parallelism,
        max_completions=chosen.max_completions,
        max_backoff_limit=chosen.max_backoff_limit,
        max_replicas=chosen.max_replicas,
        job_metadata=tuple(chosen.job_metadata),
        own_account=chosen.own_account,
    )


def unserved(chosen: argparse.Namespace) -> frozenset[str]:
    """The namespaces that are not served; none where the served ones are named."""
    return frozenset() if chosen.namespace else frozenset({*SYSTEM_NAMESPACES, *chosen.exclude_namespace})


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f'"{text[:40]}" is not a number: write a whole one, such as 4')
    return int(text)
