"""The rules between fields of a plan's spec: each yields path and message of every violation.

The CRD has the same rules in CEL (generate/cel.py), so that an invalid plan is refused at apply. They are needed here
too, because an object may be older than its CRD, and the CLI reads files. Only the target of `use` is checked here
alone: comparing all names with each other costs the API server too much. A rule between two fields of a smaller model
is next to that model.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice, pairwise
from typing import Final

from rolloutplan.api.bake import HOLDBACK_NEEDS_FULL
from rolloutplan.api.parsing import FieldErrors
from rolloutplan.api.predicate import NOT_FOR, Predicate
from rolloutplan.api.quantities import format_weight
from rolloutplan.api.rendering import BUILTIN_VARIABLES, LONGEST_BUILTIN, Text, rendered_refusals, texts_of
from rolloutplan.api.route import FEATURE_FLAG
from rolloutplan.api.spec_fields import PlanFields
from rolloutplan.api.stage import FULL, MAX_STAGES, warmup_refused
from rolloutplan.api.tasks import NOT_BELOW_FULL

MAX_TEMPLATES: Final = 16
"""The templates of a run are stored in its status, which must stay small."""
MAX_REFUSALS: Final = 3
"""The most errors about `use`: finding the nearest name for each is slow."""
ONE_DEPLOYMENT: Final = (
    "is the old side too: name the Deployment of the new version, or divide one Deployment's traffic by variants of a "
    "FeatureFlag"
)
OTHER_SERVICE: Final = (
    "is not the old side's Service, and both sides are one Deployment: write service once, or twice the same"
)
NO_FLAG: Final = "is a variant, and no route of the plan is a FeatureFlag: leave it out, or name the flag's route"
NO_VARIANT: Final = 'is missing: name the variant of the flag that is this side, such as "on", in quotes'
SAME_VARIANT: Final = "is the old side too: name the variant that the new side gets"
ALONE: Final = "Replicas moves traffic by the number of pods, so it must be the only route: remove it or the others"
NOT_THE_SERVICE: Final = (
    "is not the Service that the Replicas route names: leave service out, both sides are behind that one"
)
NOT_SCALED: Final = (
    "is not possible where the route sets the number of pods, or both sides are one Deployment: leave it out"
)
AFTER_WEIGHT: Final = "comes after a weight, when users get answers of the new side already: put the stage before those"
NO_WEIGHT: Final = "no stage has a weight: end the stages with weight: 100%"
JUDGED_BY: Final = "give it pass or fail predicates without dryRun, or give the plan guards without it"


def refusals(spec: PlanFields) -> tuple[tuple[str, str], ...]:
    """Path and message of every violation of the plan, but for queries that would be too large: see `rendered`."""
    return (
        *_sides(spec),
        *_weights(spec),
        *_judged(spec),
        *_warmup(spec),
        *_contract(spec),
        *_holdback(spec),
        *_duplicate_names("a stage", ((f"stages[{i}].name", s.name) for i, s in enumerate(spec.stages) if s.name)),
        *_duplicate_names(
            "a predicate", ((f"{where}.name", p.name) for where, p in spec.predicates() if _has_own_name(p))
        ),
        *islice(_uses(spec), MAX_REFUSALS),
        *_same_name_in_stage(spec),
        *_templates(spec),
        *_duplicate_names("a task", spec.tasks()),
        *_duplicate_names(
            "a route", ((f"traffic.routes[{i}].name", str(r.id)) for i, r in enumerate(spec.traffic.routes))
        ),
    )


def rendered(spec: PlanFields) -> FieldErrors:
    """Refuse queries that would be too large, or too many, once their variables are filled in."""
    sides = (spec.old, spec.new)
    sizes = {name: len(value.encode()) for name, value in spec.variables.items()}
    sizes |= dict.fromkeys(BUILTIN_VARIABLES, LONGEST_BUILTIN)
    sizes |= dict.fromkeys(("deployment", "old", "new"), max(len(side.deployment) for side in sides))
    sizes["service"] = max(map(len, spec.services))
    sizes["variant"] = max(len(side.variant or "") for side in sides)
    return rendered_refusals(_texts(spec), sizes)


def _texts(spec: PlanFields) -> Iterator[Text]:
    for i, assumption in enumerate(spec.assumptions):
        if assumption.predicate is not None:
            yield Text(f"assumptions[{i}].predicate.query", assumption.predicate.query, 1)
    steps = sum(len(stage.steps) for stage in spec.stages) + (spec.bake.holdback is not None)
    for i, guard in enumerate(spec.guards):
        yield from texts_of(f"guards[{i}]", guard, steps)
    for i, stage in enumerate(spec.stages):
        for role, predicates in (("pass", stage.pass_), ("fail", stage.fail), ("warn", stage.warn)):
            for j, predicate in enumerate(predicates):
                yield from texts_of(f"stages[{i}].{role}[{j}]", predicate, len(stage.steps))


def _sides(spec: PlanFields) -> FieldErrors:
    if spec.is_one_deployment and not _has(spec, FEATURE_FLAG, only=True):
        yield "new.deployment", f'"{spec.new.deployment}" {ONE_DEPLOYMENT}'
    elif spec.is_one_deployment and spec.old.service_name != spec.new.service_name:
        yield "new.service", f'"{spec.new.service_name}" {OTHER_SERVICE}'
    elif not spec.is_one_deployment and spec.replicas is None and spec.old.service_name == spec.new.service_name:
        yield "new.service", f'"{spec.new.service_name}" is the old side\'s Service too: give each side its own'
    yield from _variants(spec)
    if spec.replicas is not None:
        yield from _replicas(spec)
    if spec.is_one_deployment or spec.replicas is not None:
        yield from _sizes(spec)


def _has(spec: PlanFields, kind: str, *, only: bool = False) -> bool:
    """Whether any route of a plan is of this kind, or all of them are."""
    return (all if only else any)(ref.kind == kind for ref in spec.traffic.routes)


def _variants(spec: PlanFields) -> FieldErrors:
    sides = (("old.variant", spec.old.variant), ("new.variant", spec.new.variant))
    if not _has(spec, FEATURE_FLAG):
        yield from ((path, f'"{variant}" {NO_FLAG}') for path, variant in sides if variant is not None)
    elif missing := [path for path, variant in sides if variant is None]:
        yield from ((path, NO_VARIANT) for path in missing)
    elif spec.old.variant == spec.new.variant:
        yield "new.variant", f'"{spec.new.variant}" {SAME_VARIANT}'


def _replicas(spec: PlanFields) -> FieldErrors:
    if len(spec.traffic.routes) > 1:
        yield "traffic.routes", ALONE
    for path, side in (("old.service", spec.old), ("new.service", spec.new)):
        if side.service is not None and spec.replicas is not None and side.service != spec.replicas.name:
            yield path, f'"{side.service}" {NOT_THE_SERVICE}'


def _sizes(spec: PlanFields) -> FieldErrors:
    if spec.expand.scale.new != "None":
        yield "expand.scale.new", NOT_SCALED
    if spec.contract.scale_old is not None:
        yield "contract.scaleOld", NOT_SCALED


def _numbered(spec: PlanFields) -> list[tuple[str, int]]:
    """The path and the permille of every weight."""
    return [
        (f"stages[{i}].weight" if stage.weights is None else f"stages[{i}].weights[{j}]", permille)
        for i, stage in enumerate(spec.stages)
        for j, permille in enumerate(() if stage.moves_no_weight else stage.steps)
    ]


def _weights(spec: PlanFields) -> FieldErrors:
    steps, number = _numbered(spec), sum(len(stage.steps) for stage in spec.stages)
    if number > MAX_STAGES:
        yield "stages", f"{number} weights are too many: write at most {MAX_STAGES}"
    for i, (former, stage) in enumerate(pairwise(spec.stages), start=1):
        if stage.moves_no_weight and not former.moves_no_weight:
            yield f"stages[{i}].{'match' if stage.mirror is None else 'mirror'}", AFTER_WEIGHT
    if not steps:
        yield "stages", NO_WEIGHT
        return
    for (_, before), (where, permille) in pairwise(steps):
        if permille <= before:
            yield where, f"{format_weight(permille)} does not rise above {format_weight(before)}: weights must increase"
    where, last = steps[-1]
    if last != (spec.stop_at or FULL):
        end = f"{format_weight(spec.stop_at)}, as stopAt says" if spec.stop_at else "100%, or write stopAt to end there"
        yield where, f"the last weight is {format_weight(last)}: end the stages with {end}"


def _contract(spec: PlanFields) -> FieldErrors:
    if spec.contract.wanted and spec.stop_at is not None and spec.stop_at < FULL:
        yield "contract", NOT_BELOW_FULL


def _holdback(spec: PlanFields) -> FieldErrors:
    """The stage of weight 100% stands below that with a holdback, and must still be the highest."""
    held_back = spec.bake.holdback
    if held_back is None:
        return
    if spec.stop_at is not None and spec.stop_at < FULL:
        yield "bake.holdback", HOLDBACK_NEEDS_FULL
    *earlier, (_, last) = _numbered(spec) or [("", 0)]
    if earlier and last == FULL and earlier[-1][1] >= FULL - held_back:
        where, permille = earlier[-1]
        stands = f"{format_weight(FULL - held_back)}, at which bake.holdback {format_weight(held_back)} keeps the last"
        fix = "write a lower weight, or a smaller holdback"
        yield where, f"{format_weight(permille)} is not below {stands} stage: {fix}"


def _judged(spec: PlanFields) -> FieldErrors:
    for i, stage in enumerate(spec.stages):
        if all(each.dry_run for each in (*spec.guards, *stage.pass_, *stage.fail)):
            yield f"stages[{i}]", f"nothing judges this stage: {JUDGED_BY}"


def _warmup(spec: PlanFields) -> FieldErrors:
    for i, stage in enumerate(spec.stages):
        if spec.warmup and stage.warmup is None and spec.warmup >= stage.soak:
            yield "warmup", f"stages[{i}]: {warmup_refused(spec.warmup, stage.soak)}"
            return


def _duplicate_names(what: str, named: Iterable[tuple[str, str]]) -> FieldErrors:
    seen: dict[str, str] = {}
    for where, name in named:
        if name in seen:
            yield where, f'"{name}" is already the name of {what}, at {seen[name]}: choose another name'
        seen.setdefault(name, where)


def _has_own_name(predicate: Predicate) -> bool:
    """Whether its name must be unique in the plan; a `use` without a name has the name of the used predicate."""
    return predicate.use is None or predicate.name_ is not None


def _uses(spec: PlanFields) -> FieldErrors:
    named = {predicate.name: predicate for _, predicate in spec.predicates() if _has_own_name(predicate)}
    for where, predicate in spec.predicates():
        if predicate.use is None:
            continue
        used = named.get(predicate.use)
        if used is None:
            near = get_close_matches(predicate.use, [name for name, other in named.items() if other.use is None], n=1)
            hint = f"did you mean {near[0]}?" if near else "write the name of one"
            yield f"{where}.use", f'"{predicate.use}" is not a predicate of this plan: {hint}'
        elif used.use is not None:
            yield f"{where}.use", f'"{predicate.use}" itself uses another predicate: write the name of that one'
        elif used.alert is not None and ".pass[" in where:
            yield f"{where}.use", f'"{predicate.use}": {NOT_FOR}'


def _same_name_in_stage(spec: PlanFields) -> FieldErrors:
    """A `use` in a stage that already has a predicate of the same name."""
    if all(_has_own_name(predicate) for _, predicate in spec.predicates()):
        return
    by_stage, reported = defaultdict[str, list[tuple[str, Predicate]]](list), set[str]()
    for where, predicate in spec.predicates():
        by_stage[where.partition(".")[0] if where.startswith("stages") else ""].append((where, predicate))
    for i in range(len(spec.stages)):
        here = by_stage[""] + by_stage[f"stages[{i}]"]
        seen: dict[str, str] = {}
        for where, predicate in sorted(here, key=lambda each: not _has_own_name(each[1])):
            if predicate.name in seen and not _has_own_name(predicate) and where not in reported:
                reported.add(where)
                words = f'"{predicate.name}" is already evaluated here, as {seen[predicate.name]}'
                yield f"{where}.use", f"{words}: remove this, or give it another name"
            seen.setdefault(predicate.name, where)


def _templates(spec: PlanFields) -> FieldErrors:
    named = {predicate.template for _, predicate in spec.predicates() if predicate.template is not None}
    if len(named) > MAX_TEMPLATES:
        yield "", f"{len(named)} templates are too many: name at most {MAX_TEMPLATES}"
