"""Options that several commands have, and how the command line reads what is written after them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import typer

from rolloutplan.api import suggestions
from rolloutplan.api.quantities import parse_duration, parse_rate
from rolloutplan.api.text_format import DNS_LABEL, DNS_NAME
from rolloutplan.cli.completion import plan_names

_DECIMAL: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15}")

_Read = TypeVar("_Read")


def reads(read: Callable[[str], _Read]) -> Callable[[Any], _Read]:
    """Make a parser for typer: its ValueError is told as it is, and a default, which is no text, is taken as it is."""

    def parser(value: Any) -> _Read:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return read(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parser


def seconds(text: str) -> float:
    """A time in seconds. Raises ValueError with the fix."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f'"{text}" is not a time: write seconds, such as 5 or 0.5')
    return float(text)


def share(text: str) -> float:
    """A percentage, as a part of 1. Raises ValueError with the fix."""
    number = text.removesuffix("%")
    if (number == text and "." in text) or not _DECIMAL.fullmatch(number) or not 0 < float(number) < 100:
        meant = (suggestions.percentage(text) if "%" not in text else "") or "one such as 0.2%"
        raise ValueError(f'"{text}" is not a percentage of the requests: write {meant}')
    return float(number) / 100


def instant(text: str) -> datetime:
    """A time with its date and zone. Raises ValueError with the fix."""
    try:
        at = datetime.fromisoformat(text) if "T" in text.upper() else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError(f'"{text}" is not a time: write it as in RFC 3339, 2026-03-01T09:00:00Z')
    return at


# ---- plans of the cluster --------------------------------------------------------------------------------------------


def namespace_option(words: str) -> Any:
    """The option that names a namespace, and which one is meant without it."""
    return typer.Option("-n", "--namespace", metavar="NAMESPACE", parser=reads(DNS_LABEL.read), help=words)


def plan_argument(words: str, metavar: str = "PLAN") -> Any:
    """The argument that names a plan, or several."""
    return typer.Argument(metavar=metavar, parser=reads(DNS_NAME.read), autocompletion=plan_names, help=words)


Namespace: TypeAlias = Annotated[str | None, namespace_option("its namespace (default: the kubeconfig's)")]
PlanName: TypeAlias = Annotated[str, plan_argument("the plan's name")]


def selector_option(words: str) -> Any:
    """The option that selects by labels. An empty one, as of a variable that is not set, would select everything."""
    return typer.Option("-l", "--selector", metavar="SELECTOR", parser=reads(_selector), help=words)


def _selector(text: str) -> str:
    if not text.strip():
        raise ValueError("the selector is empty: write labels, such as team=checkout, or leave it out")
    return text


# ---- files of plans --------------------------------------------------------------------------------------------------

Files: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="FILE", help="YAML or JSON, or a folder of it; - is standard input")
]
ScrapeInterval: TypeAlias = Annotated[
    timedelta,
    typer.Option(
        metavar="TIME",
        parser=reads(parse_duration),
        help="the scrape interval of metric sources that are not in the files (default: 15s)",
    ),
]
USUAL_SCRAPE: Final = timedelta(seconds=15)
Bad: TypeAlias = Annotated[
    float,
    typer.Option(metavar="SHARE", parser=reads(share), help="the usual share of bad requests, for --traffic (0.1%)"),
]
USUAL_BAD: Final = 0.001


def traffic_option(what_for: str) -> Any:
    """The option for the traffic of both sides, and what it is for."""
    words = f"requests of both sides together, such as 12/s, 700/m or 500/h: {what_for}"
    return typer.Option(metavar="RATE", parser=reads(parse_rate), help=words)
