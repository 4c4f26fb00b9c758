"""What the operator shows to the servers that it calls: metric sources and receivers of notifications.

Credentials are files that the chart mounts, so only kinds of the whole cluster may name them.
"""

from typing import Final, Self

from pydantic import Field, model_validator

from rolloutplan.api.parsing import SpecModel, Violations
from rolloutplan.api.text_format import CredentialFile, Username

ONE_CREDENTIAL: Final = "has more than one of bearer, basic and mtls: write one of them"
NO_CREDENTIAL: Final = "is empty: write bearer, basic, mtls or caBundle, or remove auth"


def cluster_only(kind: str) -> str:
    """That a field is one of the kind of the whole cluster alone."""
    return f"is only allowed on a {kind}, whose owner runs the operator: remove it, or ask for a {kind}"


def only_https(field: str) -> str:
    """That nothing is shown to a server over http; `field` has its address."""
    return f"is only used over https: write an address with https:// in {field}, or remove auth"


class BasicAuth(SpecModel):
    """HTTP basic authentication."""

    username: Username = Field(description="The name of the user.")
    password: CredentialFile = Field(description="The name of the credential file with the password.")


class MutualTls(SpecModel):
    """A client certificate."""

    cert: CredentialFile = Field(
        description="The name of the credential file with the certificate, and those between it and its CA, as PEM."
    )
    key: CredentialFile = Field(description="The name of the credential file with its key, as PEM and not encrypted.")


class Auth(SpecModel):
    """What the operator shows to a server, and which CAs it trusts. Files are named as in the chart's `credentials`."""

    bearer: CredentialFile | None = Field(
        default=None, description="The name of the credential file with a bearer token."
    )
    basic: BasicAuth | None = Field(default=None, description="HTTP basic authentication.")
    mtls: MutualTls | None = Field(default=None, description="A client certificate.")
    ca_bundle: CredentialFile | None = Field(
        default=None,
        description="The name of the credential file with the CAs that are trusted for this server, as PEM. If left"
        " out, those of the operator's installation.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        written = sum(each is not None for each in (self.bearer, self.basic, self.mtls))
        if written > 1:
            raise Violations(("", ONE_CREDENTIAL))
        if not written and self.ca_bundle is None:
            raise Violations(("", NO_CREDENTIAL))
        return self
