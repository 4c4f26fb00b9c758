"""What the next release is called, and which words of the last one become which. Pure functions of names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, NamedTuple

from rolloutplan.api.text_format import DNS_LABEL

_COUNTED: Final = re.compile(r"(?P<stem>.*?)(?P<number>[0-9]{1,9})")
_PARTS: Final = re.compile(r".*[0-9]-")
"""What is before the last number of a version such as 1-4-0: counting that up would be a guess."""
_TAG: Final = "{tag}"


class Names(NamedTuple):
    """What both sides are called."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Sides:
    """The sides of the last release, and the Deployment of the next one."""

    deployments: Names
    services: Names
    next: str

    @property
    def are_slots(self) -> bool:
        """Whether the next release goes into the place of the old side."""
        return self.next == self.deployments.old

    @property
    def ending(self) -> str:
        """What tells the live version from others in its name: v2 of checkout-v2."""
        return self._ending(self.deployments.new)

    @property
    def shift(self) -> Mapping[str, str]:
        """The words of the plan and of the route: the new side becomes the old one."""
        (old, new), (old_service, new_service) = self.deployments, self.services
        if self.are_slots:
            return {old: new, new: old} | {old_service: new_service, new_service: old_service}
        words = {self._ending(old): self.ending, self.ending: self._ending(self.next)}
        words |= {old_service: new_service, new_service: self.next_service, old: new, new: self.next}
        return {word: other for word, other in words.items() if word}

    @property
    def copied(self) -> Mapping[str, str]:
        """The words of what belongs to the live version, in its copy for the next one."""
        ending, other = self.ending, self._ending(self.next)
        words = {ending: other, ending.replace("-", "."): other.replace("-", ".")}
        words |= {self.services.new: self.next_service, self.deployments.new: self.next}
        return {word: other for word, other in words.items() if word}

    @property
    def next_service(self) -> str:
        """The Service of the next release: named as its Deployment, or as the last Service with its ending."""
        if self.services.new == self.deployments.new:
            return self.next
        return _with_ending(self.services.new, self.ending, self._ending(self.next))

    @property
    def of_old(self) -> frozenset[str]:
        return frozenset((self.deployments.old, self.services.old))

    @property
    def of_new(self) -> frozenset[str]:
        return frozenset((self.deployments.new, self.services.new))

    def renamed(self, plan: str) -> str:
        """The name of the plan for the next release; in slots it stays."""
        return plan if self.are_slots else _with_ending(plan, self.ending, self._ending(self.next))

    def tags(self, images: Sequence[str], image: str) -> Mapping[str, str]:
        """Labels may have the tag of the image as their version."""
        return {tag(each): tag(image) for each in images if tag(each) and tag(image)}

    def _ending(self, name: str) -> str:
        """A name without what all three have in common, up to a hyphen."""
        stem = _stem(*self.deployments, self.next)
        return name.removeprefix(stem) if stem and name.startswith(stem) else ""


def next_name(old: str, new: str, given: str, image: str) -> str:
    """The Deployment of the next release: the name that was given, or the last one counted up.

    Raises ValueError with the fix where it cannot be derived.
    """
    if _TAG in given and not tag(image):
        raise ValueError(f"{given}: the image has no tag, so give the whole name with --name")
    if given:
        name = given.replace(_TAG, re.sub("[^a-z0-9]+", "-", tag(image).lower()).strip("-"))
        return DNS_LABEL.read(name)
    found = _COUNTED.fullmatch(new)
    if found is None or _PARTS.fullmatch(found["stem"]):
        why = "has no number that can be counted up" if found is None else "ends with a version of several numbers"
        example = _unnumbered(_stem(old, new)) + _TAG
        fix = f"give the next name, such as --name '{example}', or of two slots: --name {old}"
        raise ValueError(f'"{new}" {why}: {fix}')
    number = found["number"]
    return f"{found['stem']}{int(number) + 1:0{len(number)}d}"


def tag(image: str) -> str:
    """The tag of an image; empty where it has none."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def repository(image: str) -> str:
    """An image without its tag and its digest."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def _stem(*names: str) -> str:
    """What all names begin with, up to a hyphen."""
    parts = zip(*(name.split("-") for name in names), strict=False)
    return "".join(f"{same[0]}-" for same in takewhile(lambda each: len({*each}) == 1, parts))


def _unnumbered(stem: str) -> str:
    """A stem without the numbers at its end: checkout- of checkout-1-4-."""
    parts = stem.split("-")[:-1]
    while parts and parts[-1].isdecimal():
        parts.pop()
    return "".join(f"{part}-" for part in parts)


def _with_ending(name: str, ending: str, other: str) -> str:
    """A name with another ending, also where that is in its middle: checkout-v2-eu."""
    return re.sub(rf"(?<![^-]){re.escape(ending)}(?![^-])", other, name) if ending else name
