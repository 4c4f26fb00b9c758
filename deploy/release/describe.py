"""What a release says of itself: its components with their hashes and licences, and how it was made.

All functions are pure. make.py calls them with what the tools of a release have found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from uuid import NAMESPACE_URL, uuid5

CONCLUDED: Final = {"aiosignal": "Apache-2.0", "promql-parser": "MIT", "protobuf": "BSD-3-Clause"}
"""SPDX licences, as the licence files of these packages have them: their metadata names none of SPDX."""
BUILDER: Final = "urn:rolloutplan:make-release"
_PART: Final = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REGISTRY: Final = re.compile(rf"(?:{_PART}(?::[0-9]{{1,5}}|[.]{_PART})(?::[0-9]{{1,5}})?|localhost)(?:/{_PART})*")
"""A host with a dot or a port, as container engines tell it from a part of a path, and a path below it."""


class Commit(NamedTuple):
    """What is released; `time` is in seconds since 1970."""

    sha: str
    time: int


class Locked(NamedTuple):
    """A package of a lock; `only` is the condition under which it is installed, "" for always."""

    version: str
    only: str
    hashes: Sequence[str]


def registry_fault(registry: str) -> str:
    """What is wrong with the place of the image, and the fix; "" where nothing is."""
    if not registry:
        return "REGISTRY is missing: write where you push the image, such as make release REGISTRY=example.org/team"
    if _REGISTRY.fullmatch(registry):
        return ""
    fix = "write host and path in lower case, without https://, a tag or a slash at the end, such as example.org/team"
    return f'REGISTRY "{registry}" is not the address of a registry: {fix}'


def tree_fault(changes: str) -> str:
    """What `git status --porcelain` says against a release; "" where nothing does."""
    files = [line[3:] for line in changes.splitlines()]
    if not files:
        return ""
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"a release is made of a commit, and {files[0]}{more} of the tree are in none: commit or remove them"


def locked(text: str) -> dict[str, Locked]:
    """Read a lock with hashes: packages by name."""
    found = {}
    for entry in re.split(r"(?m)^(?=[a-z0-9])", text)[1:]:
        name, version, only = re.match(r"([a-z0-9._-]+)==([^ ]+)(?: ; ([^\\]+))?", entry).groups()  # type: ignore[union-attr]
        found[name] = Locked(version, (only or "").strip(), re.findall("--hash=sha256:([0-9a-f]{64})", entry))
    return found


def with_image(values: str, repository: str, tag: str) -> str:
    """The values of the chart with the address of the image in them."""
    written = {"repository": repository, "tag": tag}
    made, times = re.subn(r'(?m)^(  (repository|tag): )""$', lambda found: f'{found[1]}"{written[found[2]]}"', values)
    assert times == len(written), "values.yaml has one empty repository and one empty tag"
    return made


def bill(
    found: Mapping[str, Any], lock: Mapping[str, Locked], version: str, wheel: str, commit: Commit
) -> dict[str, Any]:
    """The SBOM: what cyclonedx-py has found, with the hashes of the lock. `wheel` is the SHA-256 of ours.

    A component has the hash of each file of its version that the lock admits: one is installed on each platform.
    """
    made = deepcopy(dict(found))
    made["serialNumber"] = uuid5(NAMESPACE_URL, f"{BUILDER}/{commit.sha}/{wheel}").urn
    made["metadata"]["timestamp"] = datetime.fromtimestamp(commit.time, UTC).isoformat()
    made["metadata"]["component"] |= {"version": version, "hashes": [_sha256(wheel)]}
    for component in made["components"]:
        name = _normal(component["name"])
        component["hashes"] = [_sha256(each) for each in lock[name].hashes]
        if name in CONCLUDED:
            concluded = {"license": {"id": CONCLUDED[name], "acknowledgement": "concluded"}}
            component["licenses"] = [concluded]
    return made


def bill_fault(sbom: Mapping[str, Any], lock: Mapping[str, Locked]) -> str:
    """What an SBOM lacks, and the fix; "" where it is complete. Packages for other platforms may be missing."""
    named = {_normal(each["name"]) for each in sbom["components"]}
    if lacking := {name for name, each in lock.items() if not each.only} - named:
        return f"the SBOM lacks {', '.join(sorted(lacking))}, which requirements.lock has"
    if unknown := [package for package, licence in licences(sbom).items() if not licence]:
        fix = "read their licence files, and write them to CONCLUDED in deploy/release/describe.py"
        return f"{', '.join(unknown)} name no licence of SPDX: {fix}"
    return ""


def licences(sbom: Mapping[str, Any]) -> dict[str, str]:
    """The SPDX licences of each component, "" where it has none."""
    return {f"{each['name']} {each['version']}": _spdx(each.get("licenses", ())) for each in sbom["components"]}


def _spdx(declared: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(filter(None, (each.get("expression") or each["license"].get("id") for each in declared)))


def licence_list(sbom: Mapping[str, Any]) -> str:
    """A line for each component: name, version and licences, by columns."""
    rows = sorted(licences(sbom).items(), key=lambda row: row[0].lower())
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:{width}}  {licence}\n" for name, licence in rows)


def statement(
    commit: Commit,
    registry: str,
    tools: Mapping[str, str],
    materials: Mapping[str, str],
    subjects: Mapping[str, str],
) -> dict[str, Any]:
    """The provenance, an in-toto statement with the predicate of SLSA. Materials and subjects: SHA-256 by file."""
    sources = [{"name": name, "digest": {"sha256": each}} for name, each in sorted(materials.items())]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": each}} for name, each in sorted(subjects.items())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{BUILDER}:v1",
                "externalParameters": {"registry": registry},
                "internalParameters": {"SOURCE_DATE_EPOCH": commit.time},
                "resolvedDependencies": [{"name": "source", "digest": {"gitCommit": commit.sha}}, *sources],
            },
            "runDetails": {"builder": {"id": BUILDER, "version": dict(tools)}},
        },
    }


def _sha256(content: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": content}


def _normal(name: str) -> str:
    """The name of a package as locks write it."""
    return re.sub("[-_.]+", "-", name).lower()
