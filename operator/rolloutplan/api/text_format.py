"""Text formats: the Python parser and the CRD's schema of each, with the same messages."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

from rolloutplan.api import suggestions
from rolloutplan.api.printable import HIDDEN
from rolloutplan.api.shown import shown

QUOTE: Final = '"'
CALLED: Final = "x-called"
"""The key of a schema with the name of its format; the CRDs leave it out."""
OR_TEXT: Final = "x-or-text"
"""The key of a field's schema with that of the text that may be written in place of the mapping."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The pattern that a text must match, and the message `fix` for a text that does not.

    `called` names it in the field reference. `forbidden` are patterns of texts that match but have no meaning, each
    with its own message. Patterns are RE2, as in Go, without anything that Python reads differently. `suggest` gives
    the words after "write" for a value where it can be seen what was meant, in place of those in `fix`.

    `whole` is for percentages: whole numbers in this range are read as if % followed them.
    """

    called: str
    pattern: str
    longest: int
    fix: str
    forbidden: tuple[tuple[str, str], ...] = ()
    suggest: Callable[[object], str] | None = None
    whole: range | None = None

    def matches(self, text: str) -> bool:
        return len(text) <= self.longest and "\n" not in text and re.search(self.pattern, text) is not None

    def read(self, value: object) -> str:
        """Return the text if it has this format, and a whole number in `whole` as text; else raise ValueError."""
        if self.whole is not None and type(value) is int and value in self.whole:
            return f"{value}%"
        text = value
        if isinstance(text, str) and len(text) > self.longest and not (self.suggest and self.suggest(text)):
            raise ValueError(f"too long: write at most {self.longest} characters")
        if not isinstance(text, str) or not self.matches(text):
            raise ValueError(f"{shown(value)} {self.refusal(value)}")
        for pattern, why in self.forbidden:
            if re.search(pattern, text):
                raise ValueError(f'"{text}" {why}')
        return text

    def read_names(self, values: dict[str, str]) -> dict[str, str]:
        """The mapping, if each of its names has this format; else raise ValueError."""
        for name in values:
            self.read(name)
        return values

    def refusal(self, value: object) -> str:
        """What is wrong with a value that does not have this format, and what to write."""
        meant = self.suggest(value) if self.suggest else ""
        return f"{self.fix.partition(':')[0]}: write {meant}" if meant else self.fix

    def schema(self, *more: tuple[str, str]) -> dict[str, Any]:
        """The same in OpenAPI: `pattern` for editors and offline linters, CEL rules for the messages.

        `more` are further CEL rules for a text that matches, each with the message for a violation.
        """
        schema = {CALLED: self.called, "maxLength": self.longest, "pattern": self.pattern}
        rules = [(f"self.matches({cel(self.pattern)})", self.fix)]
        rules += [(f"!self.matches({cel(pattern)})", why) for pattern, why in self.forbidden]
        rules += more
        if self.whole is None:
            messages = [{"rule": rule, "messageExpression": _said("self", why)} for rule, why in rules]
            return {"type": "string", **schema, "x-kubernetes-validations": messages}
        ((rule, why),) = rules  # further ones would have to read a number as text
        number = f"self >= {self.whole.start} && self < {self.whole.stop}"
        either = {"rule": f"type(self) == int ? {number} : {rule}", "messageExpression": _said("string(self)", why)}
        return {"x-kubernetes-int-or-string": True, **schema, "x-kubernetes-validations": [either]}


def _said(value: str, why: str) -> str:
    """A message in CEL that begins with the value."""
    return f"{cel(QUOTE)} + {value} + {cel(QUOTE + ' ' + why)}"


@dataclass(frozen=True, slots=True)
class SecretFormat(TextFormat):
    """A format of texts that may hold a credential: no message repeats one in which the pattern `hidden` is found."""

    hidden: str = ""

    def read(self, value: object) -> str:
        try:
            return TextFormat.read(self, value)
        except ValueError:
            if isinstance(value, str) and not re.search(self.hidden, value):
                raise
        raise ValueError(f"{HIDDEN} {self.refusal(value)}")

    def schema(self, *more: tuple[str, str]) -> dict[str, Any]:
        found = TextFormat.schema(self, *more)
        value = f"{cel(QUOTE)} + self + {cel(QUOTE)}"
        value = f"(self.matches({cel(self.hidden)}) ? {cel(HIDDEN)} : {value})" if self.hidden else cel(HIDDEN)
        found["x-kubernetes-validations"][0]["messageExpression"] = f"{value} + {cel(' ' + self.fix)}"
        return found


def cel(text: str) -> str:
    """Quote a text as a CEL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

DNS_LABEL: Final = TextFormat(
    called="name",
    pattern=f"^{_LABEL}$",
    longest=63,
    fix="is not a name: write lower-case letters, digits and '-', with a letter or digit at both ends",
    suggest=suggestions.name,
)
VARIANT: Final = TextFormat(
    called="variant",
    pattern="^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    longest=63,
    fix="is not a variant of a flag: write letters, digits, '-', '_' and '.', in quotes, as in variant: \"on\"",
)
STAGE_NAME: Final = replace(
    DNS_LABEL, called="stage name", longest=50
)  # short enough that the name with a weight appended is still a DNS label
DNS_NAME: Final = TextFormat(
    called="object's name",
    pattern=rf"^{_LABEL}(\.{_LABEL})*$",
    longest=253,
    fix="is not an object's name: write lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    suggest=suggestions.dotted_name,
)
_HEX: Final = "[0-9A-Fa-f]{1,4}"
_IPV6: Final = "|".join(
    (
        f"({_HEX}:){{7}}{_HEX}",
        f"({_HEX}:){{1,7}}:",
        *(f"({_HEX}:){{1,{7 - after}}}(:{_HEX}){{1,{after}}}" for after in range(1, 7)),
        f":((:{_HEX}){{1,7}}|:)",
    )
)
"""Without an IPv4 address in it: that has a spelling of its own."""
_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HOST_LABEL: Final = "[A-Za-z0-9_][-A-Za-z0-9_]{0,62}"
_LAST_LABEL: Final = "([A-Za-z_]|[0-9]+[-A-WYZ_a-wyz])[-A-Za-z0-9_]{0,62}"
"""Not a number: 127.1, 0x7f000001 and 2130706433 are 127.0.0.1 to resolvers."""
HOST_PATTERN: Final = rf"(({_OCTET}\.){{3}}{_OCTET}|\[({_IPV6})\]|({_HOST_LABEL}\.)*{_LAST_LABEL}\.?)"
PORT_PATTERN: Final = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
URL: Final = SecretFormat(
    called="address",
    hidden="[@?#]",
    pattern=rf"^https?://{HOST_PATTERN}(:{PORT_PATTERN})?(/([-A-Za-z0-9_~!$&'()*+,;=:][-A-Za-z0-9._~!$&'()*+,;=:]*)?)*$",
    longest=2048,
    fix=(
        "is not an address: write http:// or https://, a host, and a port and path where needed, without user, query,"
        ' spaces, "%" and "..", such as "http://prometheus.monitoring:9090"'
    ),
    suggest=suggestions.address,
)
WEBHOOK: Final = SecretFormat(
    called="address of a webhook",
    pattern=URL.pattern.removesuffix("$") + r"(\?[-A-Za-z0-9._~:/?@!$&'()*+,;=%]*)?$",
    longest=2048,
    fix=(
        "is not the address of a webhook: write http:// or https://, a host, and a port, path and query where needed,"
        ' without user, spaces and "..", such as "https://hooks.example/rollouts"'
    ),
)
"""No message shows one: the path or the query of many is what lets its owner in."""
RUNBOOK: Final = SecretFormat(
    called="address of a page",
    hidden="@",
    pattern=r"^https?://([-A-Za-z0-9_.]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[-A-Za-z0-9._~:/?#@!$&'()*+,;=%]*)?$",
    longest=2048,
    fix=(
        "is not the address of a page: write http:// or https://, a host, and a path where needed, without user and"
        ' spaces, such as "https://wiki.example/runbooks/checkout"'
    ),
)
SOURCE_HOST: Final = TextFormat(
    called="host of metric sources",
    pattern=rf"^([*]\.)?{HOST_PATTERN}(:{PORT_PATTERN})?$",
    longest=259,
    fix=(
        "is not a host: write a name, an address, or *. and the end of names, each with a port or without, such as"
        " prometheus.monitoring:9090, 10.0.0.5 or *.monitoring.svc"
    ),
)
_PROXY_HEADER: Final = (
    "(?i)^x-(forwarded|real-|original|rewrite|http-|method|envoy|remote|client|cluster-client|ssl-|auth|webauth|user"
    "|email|goog|amzn)"
)


def _header(setter: str, example: str, holder: str) -> TextFormat:
    """The names of headers that an object may set; `holder` is the kind of object that may have credentials."""
    by_proxies = (
        f"is a header by which proxies say who asks, and for what: remove it; for credentials use auth of a {holder}"
    )
    return TextFormat(
        called=f"name of a header of a {setter}",
        pattern="^[Xx]-[A-Za-z0-9][-A-Za-z0-9]{0,125}$",
        longest=128,
        fix=(
            f"is not the name of a header that a {setter} may set: write {example}, or another X- with at most 128"
            f" letters, digits and '-'; for credentials use auth of a {holder}, as auth: {{bearer: FILE}}"
        ),
        forbidden=((_PROXY_HEADER, by_proxies),),
    )


HEADER: Final = _header("source", "X-Scope-OrgID", "ClusterMetricSource")
NOTIFIER_HEADER: Final = _header("notifier", "X-Team", "ClusterNotifier")
HEADER_VALUE: Final = SecretFormat(
    called="value of a header",
    pattern="^([!-~]([ -~]*[!-~])?)?$",
    longest=1024,
    fix="is not the value of a header: write printable ASCII without a space at either end",
)
PARAMETER: Final = TextFormat(
    called="name of a parameter",
    pattern=r"^[A-Za-z][-A-Za-z0-9_.]{0,61}(\[\])?$",
    longest=64,
    fix="is not the name of a parameter: write at most 64 letters, digits, '-', '_' and '.', such as namespace",
    forbidden=(
        (
            "^(query|time|start|end|step|timeout|partial_response|nocache)$",
            "is a parameter that the operator sets for each query: remove it",
        ),
    ),
)
CREDENTIAL_FILE: Final = SecretFormat(
    called="name of a credential file",
    hidden="^eyJ|^LS0t|-----|[-A-Za-z0-9_+/=]{32}",
    pattern="^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
    longest=253,
    fix=(
        "is not the name of a credential file: write a name of the chart's value credentials, of letters, digits, '-',"
        " '_' and '.', without a path"
    ),
    suggest=suggestions.credential_file,
)
USERNAME: Final = TextFormat(
    called="user name",
    pattern="^[!-9;-~]{1,256}$",
    longest=256,
    fix='is not a user name: write printable ASCII without spaces and ":"',
)
SERIES_LABEL: Final = TextFormat(
    called="label of series",
    pattern="^_?[A-Za-z][A-Za-z0-9_]{0,126}$",
    longest=128,
    fix="is not a label of series: write letters, digits and '_', without '__' at the front, such as namespace",
)
ENFORCED: Final = TextFormat(
    called="enforced value",
    pattern="^([-A-Za-z0-9_.:/]|[$]namespace|[$][{]namespace[}])+$",
    longest=128,
    fix="is not a value to enforce: write letters, digits, '-', '_', '.', ':', '/' and $namespace; other variables are"
    " chosen by the authors of plans",
    forbidden=(("[$]namespace[A-Za-z0-9_]", "runs $namespace into what follows: write ${namespace}"),),
)
NAMESPACE: Final = TextFormat(
    called="namespace",
    pattern=rf"^([*]|{_LABEL})$",
    longest=63,
    fix='is not a namespace: write its name, or "*" for all',
)
NAMESPACES: Final = TextFormat(
    called="namespaces",
    pattern=f"^({_LABEL}|([a-z0-9][-a-z0-9]*)?[*])$",
    longest=63,
    fix='is not a name or prefix of namespaces: write a name, a prefix followed by "*", or "*" for all',
)
LABEL: Final = TextFormat(
    called="name of a label",
    pattern="^([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    longest=317,
    fix="is not the name of a label: write letters, digits, '-', '_' and '.', such as app.kubernetes.io/part-of",
)
LABEL_VALUE: Final = TextFormat(
    called="value of a label",
    pattern="^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
    longest=63,
    fix="is not the value of a label: write letters, digits, '-', '_' and '.', in quotes",
)
OWNER: Final = replace(
    VARIANT,
    called="team",
    fix="is not the name of a team: write letters, digits, '-', '_' and '.', such as team-checkout",
)

MATCHERS: Final = TextFormat(
    called="matchers of labels",
    pattern=r"^[^{}\n=!]*[=!][^{}\n]*$",
    longest=1024,
    fix='is not a list of label matchers: write them as in PromQL, in a line, without braces, such as severity="page"',
)

DnsLabel: TypeAlias = Annotated[str, BeforeValidator(DNS_LABEL.read), WithJsonSchema(DNS_LABEL.schema())]
Variant: TypeAlias = Annotated[str, BeforeValidator(VARIANT.read), WithJsonSchema(VARIANT.schema())]
StageName: TypeAlias = Annotated[str, BeforeValidator(STAGE_NAME.read), WithJsonSchema(STAGE_NAME.schema())]
DnsName: TypeAlias = Annotated[str, BeforeValidator(DNS_NAME.read), WithJsonSchema(DNS_NAME.schema())]
Url: TypeAlias = Annotated[str, BeforeValidator(URL.read), WithJsonSchema(URL.schema())]
WebhookUrl: TypeAlias = Annotated[str, BeforeValidator(WEBHOOK.read), WithJsonSchema(WEBHOOK.schema())]
Runbook: TypeAlias = Annotated[str, BeforeValidator(RUNBOOK.read), WithJsonSchema(RUNBOOK.schema())]
Owner: TypeAlias = Annotated[str, BeforeValidator(OWNER.read), WithJsonSchema(OWNER.schema())]
HeaderValue: TypeAlias = Annotated[str, BeforeValidator(HEADER_VALUE.read), WithJsonSchema(HEADER_VALUE.schema())]
CredentialFile: TypeAlias = Annotated[
    str, BeforeValidator(CREDENTIAL_FILE.read), WithJsonSchema(CREDENTIAL_FILE.schema())
]
Username: TypeAlias = Annotated[str, BeforeValidator(USERNAME.read), WithJsonSchema(USERNAME.schema())]
Namespace: TypeAlias = Annotated[str, BeforeValidator(NAMESPACE.read), WithJsonSchema(NAMESPACE.schema())]
NamespacePattern: TypeAlias = Annotated[str, BeforeValidator(NAMESPACES.read), WithJsonSchema(NAMESPACES.schema())]
Matchers: TypeAlias = Annotated[str, BeforeValidator(MATCHERS.read), WithJsonSchema(MATCHERS.schema())]
Enforced: TypeAlias = Annotated[str, BeforeValidator(ENFORCED.read), WithJsonSchema(ENFORCED.schema())]
LabelValue: TypeAlias = Annotated[str, BeforeValidator(LABEL_VALUE.read), WithJsonSchema(LABEL_VALUE.schema())]
Query: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
STRING: Final = r"""(?:"(?:\\.|[^"\\])*(?:"|\\?\Z)|'(?:\\.|[^'\\])*(?:'|\\?\Z)|`[^`]*(?:`|\Z))"""
"""A string of PromQL, as a part of a pattern with DOTALL. One that is never closed goes on to the end of the text: if
it were no match there, a search would begin again at each quote, and take the square of the time."""
QUOTED: Final = re.compile(rf"#[^\r\n]*|{STRING}", re.DOTALL)
"""The parts of PromQL that are not syntax: strings and comments. A comment ends at either end of a line, as it does for
Prometheus."""
