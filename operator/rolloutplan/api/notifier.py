"""The specs of Notifier and ClusterNotifier: a webhook that gets the decisions of plans, and which of them.

A notifier decides nothing. Whether its webhook answers delays no decision and no other notifier.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from rolloutplan.api.auth import Auth, cluster_only, only_https
from rolloutplan.api.limits import MAX_NOTIFIER, check_size
from rolloutplan.api.parsing import DropNulls, SpecModel, Violations, choices, read
from rolloutplan.api.policy import Labels
from rolloutplan.api.quantities import Duration, at_least, at_most
from rolloutplan.api.reasons import EventReason
from rolloutplan.api.status import Kind
from rolloutplan.api.text_format import (
    NOTIFIER_HEADER,
    CredentialFile,
    HeaderValue,
    NamespacePattern,
    Owner,
    WebhookUrl,
)

CLUSTER_ONLY: Final = cluster_only("ClusterNotifier")
ONLY_HTTPS: Final = only_https("webhook.url")
ONE_ADDRESS: Final = "needs one address: write url or urlFile"
LONGEST_NAME: Final = 63
"""Characters of the name of a notifier: the status of each plan that it selects has it."""
NAME_TOO_LONG: Final = f"metadata.name is too long for the statuses of plans: write at most {LONGEST_NAME} characters"
MAX_HEADERS: Final = 16

WORDS: Final[Mapping[str, str]] = {
    "plan": "the plan",
    "namespace": "its namespace",
    "owner": "who answers for it",
    "runbook": "the address of its runbook",
    "run": "the number of the run",
    "seq": "the number of the decision",
    "stage": "the stage",
    "kind": "the kind of the decision",
    "reason": "its reason",
    "severity": "Normal or Warning",
    "state": "the state of the run after it",
    "note": "what was decided and why",
    "why": "why it follows from what was seen",
    "observed": "what the predicates showed",
    "by": "who decided",
    "at": "when, in UTC",
    "old": "the old Deployment",
    "new": "the new Deployment",
    "weightFrom": "the new side's share before",
    "weightTo": "the new side's share after",
    "undo": "the command that restores the old weights",
}
"""What `$word` and `${word}` stand for in a template."""
WORD: Final = re.compile(r"\$(?:([A-Za-z][A-Za-z0-9]*)|\{([A-Za-z][A-Za-z0-9]*)\})")
UNKNOWN_WORD: Final = f"has a word that no decision has: write some of {', '.join(f'${word}' for word in WORDS)}"


def _one_of(words: Iterable[str]) -> tuple[BeforeValidator, WithJsonSchema]:
    """A word of a list, which is too long to be a Literal."""
    known = tuple(map(str, words))

    def check(value: object) -> object:
        if value not in known:
            raise ValueError(choices(value, known))
        return value

    return BeforeValidator(check), WithJsonSchema({"type": "string", "enum": list(known)})


Reason: TypeAlias = Annotated[str, *_one_of(EventReason)]
KindName: TypeAlias = Annotated[str, *_one_of(Kind)]


def _known_words(template: str) -> str:
    for plain, braced in WORD.findall(template):
        if (word := plain or braced) not in WORDS:
            meant = get_close_matches(word, WORDS, n=1) or WORDS
            raise ValueError(f"${word} is no word of a decision: write {', '.join(f'${each}' for each in meant)}")
    return template


class Webhook(SpecModel):
    """Where decisions are sent, and in which form."""

    url: WebhookUrl = Field(description="The address to which each decision is posted. Redirects are not followed.")
    format: Literal["Json", "CloudEvents", "Slack", "Teams"] = Field(
        default="Json", description="The form of what is posted."
    )


class ClusterWebhook(SpecModel):
    """Where decisions are sent, and in which form."""

    url: WebhookUrl | None = Field(
        default=None, description="The address to which each decision is posted. Redirects are not followed."
    )
    url_file: CredentialFile | None = Field(
        default=None, description="In place of `url` the name of the credential file that holds the address, https."
    )
    format: Literal["Json", "CloudEvents", "Slack", "Teams"] = Field(
        default="Json", description="The form of what is posted."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise Violations(("", ONE_ADDRESS))
        return self


class NotifierSelector(SpecModel):
    """The plans whose decisions are sent: those for which all of its fields are true."""

    match_labels: Labels = Field(default={}, description="Labels that the plan objects must have, all of them.")
    owners: tuple[Owner, ...] = Field(
        default=(), max_length=256, description="Their owners (`spec.owner` of the plan); every plan if left out."
    )

    def selects(self, namespace: str, labels: Mapping[str, str], owner: str | None) -> bool:  # noqa: ARG002
        """Whether the decisions of a plan are sent; `namespace` is that of the notifier, or any."""
        named = all(labels.get(name) == value for name, value in self.match_labels.items())
        return named and (not self.owners or owner in self.owners)


class ClusterNotifierSelector(NotifierSelector):
    """The plans whose decisions are sent: those for which all of its fields are true."""

    namespaces: tuple[NamespacePattern, ...] = Field(
        default=("*",),
        min_length=1,
        max_length=256,
        description='Their namespaces: names, prefixes followed by "*", or "*" for every namespace.',
    )

    def selects(self, namespace: str, labels: Mapping[str, str], owner: str | None) -> bool:
        """Whether the decisions of a plan are sent."""
        here = any(
            namespace.startswith(each[:-1]) if each.endswith("*") else namespace == each for each in self.namespaces
        )
        return here and super().selects(namespace, labels, owner)


class DecisionFilter(SpecModel):
    """The decisions that are sent: those for which all of its fields are true."""

    reasons: tuple[Reason, ...] = Field(
        default=(), max_length=64, description="Their reasons, as those of Events; all if left out."
    )
    kinds: tuple[KindName, ...] = Field(default=(), max_length=16, description="Their kinds; all if left out.")
    severity: Literal["Normal", "Warning"] | None = Field(
        default=None, description="The type of their Events; both if left out."
    )

    def takes(self, reason: str, kind: str, severity: str) -> bool:
        """Whether a decision is sent."""
        return (
            (not self.reasons or reason in self.reasons)
            and (not self.kinds or kind in self.kinds)
            and self.severity in (None, severity)
        )


class _NotifierSpec(SpecModel):
    """What both kinds have."""

    headers: Annotated[
        dict[str, HeaderValue], Field(max_length=MAX_HEADERS), AfterValidator(NOTIFIER_HEADER.read_names), DropNulls
    ] = Field(
        default={},
        description="Headers of every request, with X-. Put no credentials here: anyone can read them.",
    )
    timeout: Annotated[Duration, at_least("100ms"), at_most("8s")] = Field(
        default=timedelta(seconds=5), description="Time within which the webhook must answer."
    )
    decisions: DecisionFilter = Field(default=DecisionFilter(), description="The decisions that are sent.")
    template: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_known_words)] | None = Field(
        default=None,
        description="The text of a message, with words such as $plan, $reason and $note. Left out: plan, reason and"
        " note.",
    )
    give_up_after: Annotated[Duration, at_least("1m"), at_most("24h")] = Field(
        default=timedelta(hours=1),
        description="A decision that the webhook has not taken by then is not sent any more, and counted.",
    )


class NotifierSpec(_NotifierSpec):
    """A webhook that gets the decisions of the plans of its namespace."""

    refused: ClassVar[Mapping[str, str]] = {"auth": CLUSTER_ONLY}

    webhook: Webhook = Field(description="Where decisions are sent, and in which form.")
    selector: NotifierSelector = Field(
        default=NotifierSelector(), description="The plans whose decisions are sent; all of the namespace if left out."
    )

    @property
    def url_file(self) -> None:
        """Only a ClusterNotifier has its address in a file."""

    @property
    def auth(self) -> None:
        """Only a ClusterNotifier shows credentials."""


class ClusterNotifierSpec(_NotifierSpec):
    """A webhook that gets the decisions of plans of many namespaces."""

    webhook: ClusterWebhook = Field(description="Where decisions are sent, and in which form.")
    auth: Auth | None = Field(
        default=None,
        description="What the operator shows to the webhook, over https only. Files that change are read again.",
    )
    selector: ClusterNotifierSelector = Field(
        default=ClusterNotifierSelector(), description="The plans whose decisions are sent; every plan if left out."
    )

    @property
    def url_file(self) -> str | None:
        """The credential file with the address."""
        return self.webhook.url_file

    @model_validator(mode="after")
    def _over_https(self) -> Self:
        if self.auth is not None and self.webhook.url is not None and not self.webhook.url.startswith("https://"):
            raise Violations(("auth", ONLY_HTTPS))
        return self


AnyNotifierSpec: TypeAlias = NotifierSpec | ClusterNotifierSpec


def read_notifier(raw: Mapping[str, Any], cluster: bool) -> AnyNotifierSpec:
    """Read the `spec` of a Notifier or a ClusterNotifier. Raises SpecError."""
    check_size(raw, MAX_NOTIFIER)
    return read(ClusterNotifierSpec, raw) if cluster else read(NotifierSpec, raw)
