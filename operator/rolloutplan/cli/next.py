"""Write the next release for Git: from the files of the one that went out last, with their comments and their order.

What it is called is in naming.py. The objects come from files.py and objects.py, their texts are changed by
yaml_edit.py; what the files say is checked before anything is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer
import yaml

from rolloutplan.api import safe_get
from rolloutplan.api.route import FEATURE_FLAG, REPLICAS
from rolloutplan.api.spec import PlanSpec
from rolloutplan.api.stage import FULL
from rolloutplan.cli.files import UNREADABLE, ParsedObject, cannot_all_be_read, format_diagnostic, read_files
from rolloutplan.cli.inputs import STANDARD_INPUT
from rolloutplan.cli.naming import Names, Sides, next_name, repository
from rolloutplan.cli.objects import read_objects
from rolloutplan.cli.options import Files
from rolloutplan.cli.output import CliError, fail
from rolloutplan.cli.yaml_edit import Editor, at
from rolloutplan.cli.yaml_read import UnreadableError, documents, parts
from rolloutplan.cluster.plans import COMMITTED_AT
from rolloutplan.tools.objects.manifests import BackendFile, Objects, RouteFile
from rolloutplan.tools.promql.queries import Finding

REFUSED: Final = 1
_IMAGE: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._:/@+]*")
"""The characters of an image: registry, repository, tag and digest."""
_LABELS: Final = ("metadata.labels", "spec.selector", "spec.template.metadata.labels")
_CONTAINERS: Final = ("containers", "initContainers")


def next_release(
    files: Files,
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="the image of the next Deployment, a copy of the last one")
    ] = None,
    deployment: Annotated[str | None, typer.Option(metavar="FILE", help="the next Deployment itself")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="in place of these: only the weights of the end, once the plan has succeeded")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="the name of the next Deployment, with {tag} for the image's tag; of two slots, that of the idle one"
            " (default: the last one, counted up)",
        ),
    ] = None,
    write: Annotated[bool, typer.Option("-w", "--write", help="change the file, and print nothing")] = False,
) -> int:
    """The files have the plan, and what belongs to it: Deployments, Services, the route, autoscalers.

    What went out last becomes the old side. Exit 0, 1 if the next release cannot be told from the files, 2 if a file
    cannot be read.
    """
    if [image is not None, deployment is not None, live].count(True) != 1:
        raise typer.BadParameter("write --image IMAGE, --deployment FILE or --live")
    if image is not None and not _IMAGE.fullmatch(image):
        raise typer.BadParameter(f'"{image}" is no image: write it as registry/repository:tag')
    if write and (len(files) != 1 or files[0] == STANDARD_INPUT or Path(files[0]).is_dir()):
        raise typer.BadParameter("--write changes one file: name one that has all objects of the release")
    given = _Files.read(files)
    if live:
        result = _live(given)
    else:
        found = _deployment_in(deployment) if deployment is not None else None
        result = _Next(given, image or "", found, name or "").made()
    _check_readable(result.text)
    for words in result.notes:
        fail(words, 0)
    if write:
        Path(files[0]).write_text(result.text, encoding="utf-8", newline="")
    else:
        print(result.text, end="")
    return 0


def _check_readable(text: str) -> None:
    """Raise CliError where what was written is no valid YAML, so that it never replaces a file that is."""
    try:
        list(documents(text))
    except UnreadableError as error:
        words = f"the next release cannot be written: its line {error.place.line} is no valid YAML: {error}"
        raise CliError(f"{words}: write these values without anchors", REFUSED) from None


class _Result(NamedTuple):
    text: str
    notes: Sequence[str]


@dataclass(slots=True)
class _Files:
    """The objects of a release, their texts, and the plan among them."""

    objects: list[ParsedObject]
    plan: ParsedObject
    spec: PlanSpec
    among: Objects
    editors: dict[str, Editor]

    @classmethod
    def read(cls, files: Sequence[str]) -> _Files:
        """Read them. Raises CliError where they cannot be read, or have not one valid plan."""
        objects = _read(files)
        plans = [each for each in objects if each.kind == "RolloutPlan"]
        if len(plans) != 1:
            found = ", ".join(each.subject for each in plans) or "none"
            raise CliError(f"one release has one plan, and these files have {found}: name the files of one", REFUSED)
        spec, problems = plans[0].checked
        if not isinstance(spec, PlanSpec):
            raise CliError(format_diagnostic(problems[0]), REFUSED)
        editors = {each.file: Editor(each.text, each.file) for each in objects}
        return cls(objects, plans[0], spec, read_objects(objects), editors)

    def named(self, kind: str, name: str) -> ParsedObject | None:
        return next((each for each in self.objects if each.kind == kind and each.name[1] == name), None)

    def editor(self, found: ParsedObject) -> Editor:
        return self.editors[found.file]

    def routes(self) -> Iterator[tuple[ParsedObject, RouteFile, Names]]:
        """The routes of the plan that are among the files, each with what it calls the sides."""
        for ref in self.spec.traffic.routes:
            shelf = self.among.routes_of(ref.kind)
            route = shelf.get(self.plan.name[0] or "", ref.name)
            found = next((each for each in self.objects if route and _is_route(each, ref.name, route)), None)
            if route is not None and found is not None:
                yield found, route, Names(*self.spec.called(ref))

    def documents(self) -> Iterator[tuple[str, tuple[int, int], ParsedObject | None]]:
        """Each document of each file: the file, its place, and its object, if it has one."""
        for file, editor in self.editors.items():
            mine = [each for each in self.objects if each.file == file]
            for begin, end in parts(editor.text):
                inside = [each for each in mine if begin <= each.node.start_mark.index < end]
                if len(inside) > 1:
                    raise CliError(f"{file} has a List: write each object as a document of its own", REFUSED)
                yield file, (begin, end), inside[0] if inside else None

    def text(self) -> str:
        """All documents as they are now, each in its place."""
        if len(self.editors) > 1:
            return _joined(self.editors[file].within(*place) for file, place, _ in self.documents())
        (editor,) = self.editors.values()
        return editor.within(0, len(editor.text))


def _read(files: Sequence[str]) -> list[ParsedObject]:
    objects, unreadable = read_files(files)
    if cannot_all_be_read(unreadable):
        raise CliError(format_diagnostic(unreadable[0]), UNREADABLE)
    if json := next((each for each in objects if each.text.lstrip().startswith("{")), None):
        raise CliError(f"{json.file} is JSON: write it as YAML", REFUSED)
    return objects


def _deployment_in(file: str) -> ParsedObject:
    objects = _read([file])
    if [each.kind for each in objects] != ["Deployment"]:
        raise CliError(f"{file} has {', '.join(each.subject for each in objects)}: write one Deployment", REFUSED)
    return objects[0]


def _is_route(found: ParsedObject, name: str, route: RouteFile) -> bool:
    """Whether this is the object of a route: several kinds may have one of its name."""
    paths = [backend.path for rule in route.rules for backend in rule.backends]
    return found.name[1] == name and bool(paths) and all(at(found.node, path) is not None for path in paths)


def _refused(found: ParsedObject, path: str, words: str) -> CliError:
    return CliError(format_diagnostic(found.row(Finding(path, "next", "error", words))), REFUSED)


# ---- the weights -----------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    """The backends of both sides in one rule, and their weights."""

    old: BackendFile
    new: BackendFile
    weights: tuple[int, int]


def _pairs(found: ParsedObject, route: RouteFile, called: Names) -> list[_Pair]:
    """Each rule that holds both sides. Raises CliError where its weights are no numbers of their own."""
    pairs = []
    for rule in route.rules:
        sides = {each.service: each for each in rule.backends}
        if called.old in sides and called.new in sides:
            old, new = sides[called.old], sides[called.new]
            pairs.append(_Pair(old, new, (_weight(found, old), _weight(found, new))))
    return pairs


def _weight(found: ParsedObject, backend: BackendFile) -> int:
    node = at(found.node, backend.weight_path)
    if isinstance(node, yaml.ScalarNode) and node.value.isdecimal():
        return int(node.value)
    words = "there is no weight here that could be changed: write one, or change this route by hand, and leave it out"
    raise _refused(found, backend.weight_path, words)


def _live(given: _Files) -> _Result:
    """The weights with which the plan ends."""
    last, changed = given.spec.steps()[-1].permille, False
    for found, route, called in given.routes():
        for pair in _pairs(found, route, called):
            new, rest = divmod(sum(pair.weights) * last, FULL)
            if rest:
                raise _refused(found, pair.new.weight_path, "the last weight of the plan is no whole number: write it")
            editor = given.editor(found)
            editor.set(at(found.node, pair.old.weight_path), sum(pair.weights) - new)
            editor.set(at(found.node, pair.new.weight_path), new)
            changed = True
    if not changed:
        words = "no route of the plan is among these files with both sides: name its file too"
        raise _refused(given.plan, "spec.traffic.routes", words)
    return _Result(given.text(), ())


# ---- the next release ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Next:
    """The files of a release, and what makes them those of the next one."""

    given: _Files
    image: str
    deployment: ParsedObject | None
    name: str
    notes: list[str] = field(default_factory=list)

    def made(self) -> _Result:
        """Make the texts. Raises CliError where the next release cannot be told from the files."""
        given, spec = self.given, self.given.spec
        if words := _by_hand(spec):
            raise _refused(given.plan, "spec.traffic.routes", words)
        if self._is_made():
            words = f"{spec.new.deployment} has the image {self.image} already: nothing to do"
            return _Result(given.text(), (words,))
        self._check_live()
        sides = self._sides()
        self._edit_plan(sides)
        self._edit_routes(sides)
        text = self._in_slot(sides) if sides.are_slots else self._moved_on(sides)
        return _Result(text, self.notes)

    def _is_made(self) -> bool:
        last = self.given.named("Deployment", self.given.spec.new.deployment)
        return bool(self.image) and last is not None and self.image in (each.value for each in self._images(last))

    def _check_live(self) -> None:
        """Refuse where the files say that the last release did not become the live one."""
        for found, route, called in self.given.routes():
            for pair in _pairs(found, route, called):
                if pair.weights[0] or not pair.weights[1]:
                    last = self.given.spec.new.deployment
                    words = (
                        f"{called.old} has weight {pair.weights[0]} and {called.new} {pair.weights[1]}: once the plan"
                        " has succeeded, write the weights of the end with --live; after a rollback, write the image"
                        f" into {last}, which is tried again"
                    )
                    raise _refused(found, pair.old.weight_path, words)

    def _sides(self) -> Sides:
        spec, plan = self.given.spec, self.given.plan
        given = self.deployment.name[1] if self.deployment is not None else self.name
        try:
            name = next_name(spec.old.deployment, spec.new.deployment, given, self.image)
        except ValueError as error:
            raise _refused(plan, "spec.new.deployment", str(error)) from None
        sides = Sides(Names(spec.old.deployment, spec.new.deployment), Names(*spec.services), name)
        if name == spec.new.deployment:
            raise _refused(plan, "spec.new.deployment", f"{name} is what went out last: give another name with --name")
        if not sides.are_slots and self.given.named("Deployment", name) is not None:
            raise _refused(plan, "spec.new.deployment", f"Deployment {name} is among these files already")
        if sides.next_service == spec.new.service_name:
            raise _refused(plan, "spec.new.service", "its name does not say the version: leave it out, or rename it")
        return sides

    def _edit_plan(self, sides: Sides) -> None:
        plan, editor = self.given.plan, self.given.editor(self.given.plan)
        editor.set(at(plan.node, "metadata.name"), sides.renamed(plan.name[1]))
        if safe_get.text(plan.raw, "metadata", "annotations", COMMITTED_AT):
            self.notes.append(f"{COMMITTED_AT} is still that of the last release: write the time of this commit")
        routes = [f"spec.traffic.routes[{i}]" for i in range(len(self.given.spec.traffic.routes))]
        for path in ("spec.old", "spec.new"):
            for key in ("deployment", "service"):
                editor.rename(at(plan.node, f"{path}.{key}"), sides.shift)
        for path in routes:
            for key in ("old", "new"):
                editor.rename(at(plan.node, f"{path}.{key}"), sides.shift)

    def _edit_routes(self, sides: Sides) -> None:
        seen = set()
        for found, route, called in self.given.routes():
            editor = self.given.editor(found)
            seen.add(found.name[1])
            for pair in _pairs(found, route, called):
                old, new = (at(found.node, each.weight_path) for each in (pair.old, pair.new))
                if sides.are_slots:
                    continue  # the live slot has its weight already
                for backend in (pair.old, pair.new):
                    editor.rename(at(found.node, backend.path), sides.shift)
                editor.set(old, sum(pair.weights))
                editor.set(new, 0)
        for ref in self.given.spec.traffic.routes:
            if ref.name not in seen and not sides.are_slots:
                words = f"{ref.kind} {ref.name} is not in these files: in the same commit, give {sides.deployments.new}"
                self.notes.append(f"{words} all the weight of both, and add {sides.next} with weight 0")

    def _in_slot(self, sides: Sides) -> str:
        """The idle slot gets the image, or is replaced by the Deployment that was given."""
        idle = self._known(self.given.named("Deployment", sides.next), sides.next)
        if self.deployment is None:
            self._set_image(idle)
            return self.given.text()
        return _joined(
            self.deployment.text if found is idle else self.given.editors[file].within(*place)
            for file, place, found in self.given.documents()
        )

    def _known(self, found: ParsedObject | None, name: str) -> ParsedObject:
        if found is not None:
            return found
        words = f"Deployment {name} is not among these files: name its file too, or the next one with --deployment"
        raise _refused(self.given.plan, "spec.new.deployment", words)

    # ---- versions ----

    def _moved_on(self, sides: Sides) -> str:
        """What belongs to the version before the live one goes; what belongs to the live one gets a copy after it."""
        last = self.given.named("Deployment", sides.deployments.new)
        if self.deployment is None:
            self._known(last, sides.deployments.new)
        kept, gone = [], []
        routes = [found for found, _, _ in self.given.routes()]
        for file, (begin, end), found in self.given.documents():
            text = self.given.editors[file].within(begin, end)
            version = "" if found is None or found.is_ours or found in routes else _version(found, sides)
            if version == "old":
                gone.append(found.subject if found else "")
                continue
            kept.append(text)
            if version == "new" and found is not None:
                is_given = self.deployment is not None and found.kind == "Deployment"
                kept.append(
                    self.deployment.text if is_given and self.deployment else self._copy(found, (begin, end), sides)
                )
        if self.deployment is not None and last is None:
            kept.append(self.deployment.text)
        if gone:
            self.notes.append(f"left out, because the plan names them no more: {', '.join(gone)}")
        return _joined(kept)

    def _copy(self, found: ParsedObject, place: tuple[int, int], sides: Sides) -> str:
        """The text of an object of the live version, as one of the next version."""
        editor = Editor(found.text, found.file)
        words = sides.copied
        if found.kind == "Deployment":
            self._set_image(found, editor)
            words = {**words, **sides.tags([each.value for each in self._images(found)], self.image)}
        editor.rename(at(found.node, "metadata.name"), words)
        editor.rename(at(found.node, "spec.scaleTargetRef.name"), words)
        changed = {path: editor.rename(at(found.node, path), words) for path in _LABELS}
        if found.kind in ("Deployment", "Service") and not changed["spec.selector"]:
            words_ = (
                f"no label here says the version, so {sides.next} would have the pods of {sides.deployments.new} too:"
                f" add one such as version: {sides.ending or 'v2'} to the pods and to all that selects them"
            )
            raise _refused(found, "spec.selector", words_)
        return editor.within(*place)

    def _images(self, found: ParsedObject) -> list[yaml.ScalarNode]:
        """The images of a Deployment that a release changes: those of the same repository, or the only one."""
        images = [
            node
            for key in _CONTAINERS
            for i in range(len(safe_get.items(found.raw, "spec", "template", "spec", key)))
            if isinstance(node := at(found.node, f"spec.template.spec.{key}[{i}].image"), yaml.ScalarNode)
        ]
        same = [each for each in images if repository(each.value) == repository(self.image)]
        return same or (images if len(images) == 1 else [])

    def _set_image(self, found: ParsedObject, editor: Editor | None = None) -> None:
        images = self._images(found)
        if not images:
            words = f"no container has an image of {repository(self.image)}: write the image as the Deployment names it"
            raise _refused(found, "spec.template.spec.containers", words)
        for node in images:
            (editor or self.given.editor(found)).set(node, self.image)


def _by_hand(spec: PlanSpec) -> str:
    """Why the next release of a plan cannot be written from its files, and what to do; empty where it can."""
    if spec.replicas is not None:
        return (
            f"{REPLICAS} counts the pods of one Service, so the next Deployment has to begin with none, and Git must"
            " not say how many it has: create it with kubectl and replicas: 0, leave replicas out of its file, and"
            f" write {spec.new.deployment} into spec.old and the next one into spec.new"
        )
    if any(ref.kind == FEATURE_FLAG for ref in spec.traffic.routes):
        return (
            "the sides are variants of a feature flag, and no image says what the next one is called: add it to the"
            f" flag with weight 0, and write {spec.new.variant} into spec.old.variant and the next one into"
            " spec.new.variant"
        )
    return ""


def _version(found: ParsedObject, sides: Sides) -> str:
    """Of which version an object is, by its name or by what it scales: old, new or ""."""
    scaled = safe_get.text(found.raw, "spec", "scaleTargetRef", "name")
    for side, names in (("old", sides.of_old), ("new", sides.of_new)):
        if found.name[1] in names or scaled in names:
            return side
    return ""


def _joined(texts: Sequence[str] | Iterator[str]) -> str:
    """Documents as one text, each after a `---` but the first."""
    bodies = (re.sub(r"\A---[ \t]*\r?\n", "", text) for text in texts)
    return "---\n".join(body if body.endswith("\n") else f"{body}\n" for body in bodies if body.strip())
