"""The route that the operator owns, under whatever Git does to its own one before, during and after runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonpatch
from hypothesis import given, settings
from hypothesis import strategies as st

from rolloutplan.traffic.owned import METHODS, Follow, HandBack, Make, NotOwnableError, Wanted, next_step
from tests.repetition import times
from tests.unit.test_traffic_owned import git, rule

Raw = dict[str, Any]
Weights = tuple[int, int]
OLD, NEW = (100, 0), (0, 100)
SPLITS = st.sampled_from([(50, 50), (90, 10), (1, 3)])


@dataclass
class Rule:
    """A rule in Git: `moved` by plans, or one with another `split`."""

    path: int
    moved: bool = True
    split: Weights = (50, 50)
    name: str = ""
    more: int = 0


@dataclass
class Story:
    """Git's route and the operator's, and the weights that the last run gave the new side."""

    rules: list[Rule] = field(default_factory=lambda: [Rule(0), Rule(1, moved=False)])
    committed: Weights = OLD
    own: Raw | None = None
    version: int = 1
    run: Weights | None = None
    """Of the run that goes on, or of the last one, whose end is not yet in Git."""
    moving: bool = False
    plan: bool = False
    uid: int = 1

    def source(self) -> Raw:
        rules = []
        for each in self.rules:
            names = ("v1", "v2") if each.moved else ("a", "b")
            weights = dict(zip(names, self.committed if each.moved else each.split, strict=True))
            path = {"path": {"type": "Exact", "value": f"/{each.path}"}}
            named = {"name": each.name} if each.name else {}
            rules.append(rule(weights, path, timeouts={"request": f"{each.more}s"}, **named))
        return git(*rules, uid=f"u{self.uid}")

    def split_of(self, names: tuple[str, str]) -> list[Weights]:
        """The weights that the operator's route has, of each rule with these Services."""
        rules = self.own["spec"]["rules"] if self.own else []
        refs = [{ref["name"]: ref["weight"] for ref in each["backendRefs"]} for each in rules]
        return [(each[names[0]], each[names[1]]) for each in refs if names[0] in each]

    def move(self, weights: Weights) -> None:
        """What the run does, whatever else the route has."""
        assert self.own is not None
        self.run, self.version = weights, self.version + 1
        for each in self.own["spec"]["rules"]:
            for ref, weight in zip(each["backendRefs"], weights, strict=True):
                if ref["name"] in ("v1", "v2"):
                    ref["weight"] = weight
        self.own["metadata"]["resourceVersion"] = str(self.version)

    def look(self) -> bool:
        """What the operator does until nothing is left to do. Returns whether it could."""
        for _ in range(3):
            before = self.own
            try:
                step = next_step(self.source(), self.own, Wanted(used=self.plan, moving=self.moving))
            except NotOwnableError:
                assert self.moving, "only a run refuses what Git says here"
                return False
            self.version += 1
            match step:
                case None:
                    return True
                case Make(body=body):
                    self.own = copy.deepcopy({**body})
                case Follow(operations=operations):
                    self.own = jsonpatch.apply_patch(before, [*operations])
                case HandBack():
                    assert not self.plan
                    assert {*self.split_of(("v1", "v2"))} == {self.committed}
                    self.own, self.run = None, None
                    continue
            assert self.own is not None
            self.own["metadata"]["resourceVersion"] = str(self.version)
        raise AssertionError("it never comes to rest")

    def check(self) -> None:
        followed = self.look()
        if self.own is None:
            assert not self.plan
            return
        if self.run is not None:
            assert {*self.split_of(("v1", "v2"))} == {self.run}, "no weight but that of the run"
        rules, source = self.own["spec"]["rules"], self.source()["spec"]["rules"]
        assert all(match["method"] in METHODS for each in rules for match in each["matches"])
        if followed:
            assert [each["timeouts"] for each in rules] == [each["timeouts"] for each in source]
            assert [each["matches"][0]["path"] for each in rules] == [each["matches"][0]["path"] for each in source]
            if not self.moving:
                assert self.split_of(("a", "b")) == [each.split for each in self.rules if not each.moved]


Act = Literal["start", "move", "succeed", "roll back", "delete plan", "commit", "split", "again"]
ACTS = st.sampled_from(["start", "move", "succeed", "roll back", "delete plan", "commit", "split", "again"])


@st.composite
def edits(draw: st.DrawFn) -> list[Rule]:
    """Rules of any names, paths and order; at least one that plans move."""
    paths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True))
    rules = [Rule(path, draw(st.booleans()), draw(SPLITS), more=draw(st.integers(0, 2))) for path in paths]
    rules[draw(st.integers(0, len(rules) - 1))].moved = True
    for i, each in enumerate(rules):
        each.name = draw(st.sampled_from(["", f"n{i}", f"m{i}"]))
    return rules


def act(story: Story, what: Act) -> None:
    match what:
        case "start" if not story.moving:
            story.plan = True
            story.look()
            story.moving = True
            story.move(story.split_of(("v1", "v2"))[0])
        case "move" if story.moving:
            story.move((75, 25))
        case "succeed" | "roll back" if story.moving:
            story.move(NEW if what == "succeed" else OLD)
            story.moving = story.plan = False
        case "delete plan" if not story.moving:
            story.plan = False
        case "commit":
            story.committed = NEW if story.committed == OLD else OLD
            if not story.moving and story.run == OLD:
                story.run = None  # a run that was rolled back leaves nothing of its own
        case "split":
            for each in story.rules:
                each.split = (each.split[1], each.split[0] + 1)
        case "again":
            story.uid += 1
        case _:
            pass


BEGINS = st.sampled_from([[], ["start"], ["start", "move"], ["start", "succeed"], ["start", "roll back"]])


@settings(max_examples=times(40), deadline=None)
@given(begin=BEGINS, acts=st.lists(edits() | ACTS, min_size=1, max_size=8))
def test_whatever_git_does_the_weights_are_those_of_the_run_and_all_else_is_gits(
    begin: list[Act], acts: list[Any]
) -> None:
    story = Story()
    for each in (*begin, *acts):
        if isinstance(each, list):
            story.rules = each
        else:
            act(story, each)
        story.check()
