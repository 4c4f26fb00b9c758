"""The rules between the fields of a model, in CEL, for the API server: refused at apply, with the field and the fix.

They say what the validators in `api/` say; tests/refusals.py holds the two together. All of them stand in this one
file because they share their fragments of CEL, which is written for Kubernetes 1.33 and later and for its cost limits:

- sizes must be known from the schema, so lists of lists are not flattened, and `orValue` is not used;
- the API server pays for each look at a field of each predicate, of which there may be 1,600: the first look of a rule
  settles it where nothing is wrong, lists are not made, and rules on one field are made one (crd.py);
- comparing all with all is too dear for 1,600 names: `transformMapEntry` itself refuses a key that is there already.

A rule that needs a well-spelled text looks for one first: a text that is not has its own refusal, and a rule that fails
beside it would only be noise.
"""

from collections.abc import Mapping
from typing import Any, Final

from rolloutplan.api.added import ONE_MATCH
from rolloutplan.api.auth import NO_CREDENTIAL, ONE_CREDENTIAL
from rolloutplan.api.metric_source import CLUSTER_ONLY, ONLY_HTTPS
from rolloutplan.api.notifier import CLUSTER_ONLY as NOTIFIER_CLUSTER_ONLY
from rolloutplan.api.notifier import LONGEST_NAME, NAME_TOO_LONG, ONE_ADDRESS, UNKNOWN_WORD, WORD, WORDS
from rolloutplan.api.notifier import ONLY_HTTPS as NOTIFIER_ONLY_HTTPS
from rolloutplan.api.parsing import MISSING
from rolloutplan.api.policy import INSTANT
from rolloutplan.api.predicate import (
    AS_SCRAPED,
    HISTOGRAM_NAME,
    MORE_THAN_SERIES,
    NOT_CLEAR,
    NOT_FOR,
    NOT_WITH_ALERT,
    NOT_WITH_EVENTS,
    NOT_WITH_TEMPLATE,
    NOT_WITH_USE,
    ONE_COMPARISON,
    ONE_QUESTION,
    ONLY_WITH_EVENTS,
    ONLY_WITH_TEMPLATE,
    OVERRIDES,
)
from rolloutplan.api.quantities import (
    IS,
    NO_ABSOLUTE_COUNTS,
    NO_EQUAL_COUNTS,
    NO_RATIO,
    NO_SHARE,
    VS_OLD,
    duration_in_cel,
)
from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.route import FEATURE_FLAG, HTTP_ROUTE, REPLICAS
from rolloutplan.api.route_kind_rules import (
    CORE_ROUTES,
    NAME_OF_RULES,
    NO_ROUTE,
    NO_ROUTES,
    NO_TRAFFIC,
    NOT_TRAFFIC,
    OF_CONDITIONS,
    ONE_ANSWER,
    ONE_FORM,
    SETTLES,
    SINGLE_OF_RULES,
    WEIGHT_OF_RULES,
)
from rolloutplan.api.spec import MAX_ALL_PREDICATES
from rolloutplan.api.spec_fields import VARIABLE
from rolloutplan.api.spec_rules import (
    AFTER_WEIGHT,
    ALONE,
    JUDGED_BY,
    NO_FLAG,
    NO_VARIANT,
    NO_WEIGHT,
    NOT_SCALED,
    NOT_THE_SERVICE,
    ONE_DEPLOYMENT,
    OTHER_SERVICE,
    SAME_VARIANT,
)
from rolloutplan.api.stage import MADE_NAME, MAX_STAGES, NAME_OF_WEIGHT, NAMELESS, ONE_STEP, WARMUP_FIX
from rolloutplan.api.tasks import ENDS_IN_TIME, NOT_BELOW_FULL, NOTHING_TO_APPROVE
from rolloutplan.api.template import DUPLICATE_NAME, ONE_BODY
from rolloutplan.api.text_format import HEADER, LABEL, NOTIFIER_HEADER, PARAMETER, QUOTE, SERIES_LABEL, TextFormat, cel
from rolloutplan.api.traffic import BY_VARIANTS, NO_FLAG_HERE, ONLY_HTTP_ROUTES, WHICH_FLAG

GIVEN: Final = "x-given"
"""The key of a rule with what must hold before it is looked at. Rules on one field that have the same pay for it once:
crd.py puts it in front of them."""


def _rule(rule: str, *, says: str = "", expression: str = "", at: str = "") -> dict[str, Any]:
    """One x-kubernetes-validations entry; `expression` gives the words where they hold the values."""
    words = {"message": says} if says else {"messageExpression": expression}
    return {"rule": rule, **words, **({"fieldPath": at} if at else {})}


_ESCAPED: Final = {"for": "__for__"}
"""Fields whose names are words of CEL."""
_TIME: Final = "'^[0-9][0-9.dhms]*[dhms]$'"


def _is_time(field: str) -> str:
    return f"self.{field}.matches({_TIME})"


def _time(field: str) -> str:
    """What may only be asked where `_is_time` holds."""
    return duration_in_cel(f"self.{field}")


def _ceiling(field: str, ceiling: str) -> dict[str, Any]:
    name = _ESCAPED.get(field, field)
    return _rule(
        f"!has(self.{name}) || !{_is_time(name)} || {_time(name)} <= duration('{ceiling}')",
        expression=f"self.{name} + ' is above the limit of {ceiling}: write {ceiling} or less'",
        at=f".{field}",
    )


def _floor(field: str, floor: str) -> dict[str, Any]:
    name = _ESCAPED.get(field, field)
    return _rule(
        f"!has(self.{name}) || !{_is_time(name)} || {_time(name)} >= duration('{floor}')",
        expression=f"self.{name} + ' is below the minimum of {floor}: write {floor} or more'",
        at=f".{field}",
    )


def _spelled(field: str, names: TextFormat) -> dict[str, Any]:
    """The names in a mapping that may be left out."""
    return _rule(
        f"!has(self.{field}) || self.{field}.all(name, name.matches({cel(names.pattern)}))",
        says=f"one of the names {names.fix}",
        at=f".{field}",
    )


def _or_none(field: str, names: str) -> str:
    """What comes of a list that may be left out. `orValue` would say the same, but its size counts as unknown."""
    return f"(has({field}) ? {names} : [])"


def _names(field: str) -> str:
    return _or_none(field, f"{field}.map(p, p.name)")


def _own_names(field: str) -> str:
    """The names of predicates, but for those of what is used from elsewhere."""
    named = f"{field}.filter(p, has(p.name) || has(p.template)).map(p, has(p.name) ? p.name : p.template)"
    return _or_none(field, named)


def _judged(field: str) -> str:
    """Whether a list of predicates that may be left out holds one from which anything follows."""
    return f"(has({field}) && {field}.exists(p, !has(p.dryRun) || !p.dryRun))"


def _number_of(field: str) -> str:
    """How many a list holds that may be left out."""
    return f"(has({field}) ? {field}.size() : 0)"


def _wanted(contract: str) -> str:
    """Whether a contract takes anything away."""
    return f"has({contract}.scaleOld) || (has({contract}.jobs) && {contract}.jobs.size() > 0)"


def _percent(value: str) -> str:
    """The number of a percentage, which may be a whole number without its %."""
    return f"(type({value}) == int ? double({value}) : double({value}.replace('%', '')))"


def _is_percent(value: str) -> str:
    return f"(type({value}) == int || {value}.matches('^[0-9.]+%$'))"


_SERVICE: Final = "(has(self.{0}.service) ? self.{0}.service : self.{0}.deployment)"
_OLD_SERVICE: Final = _SERVICE.format("old")
_NEW_SERVICE: Final = _SERVICE.format("new")

_FLAG: Final = f"r.kind == '{FEATURE_FLAG}'"
_IS_REPLICAS: Final = f"self.traffic.routes.exists(r, r.kind == '{REPLICAS}')"
_ONE_DEPLOYMENT: Final = "self.old.deployment == self.new.deployment"
_SETS_PODS: Final = f"({_ONE_DEPLOYMENT} || {_IS_REPLICAS})"


def _variant(side: str) -> tuple[dict[str, Any], ...]:
    """A side has a variant exactly where one of the routes is a flag."""
    return (
        _rule(
            f"!has(self.{side}.variant) || self.traffic.routes.exists(r, {_FLAG})",
            expression=f"'\"' + self.{side}.variant + {cel(f'{QUOTE} {NO_FLAG}')}",
            at=f".{side}.variant",
        ),
        _rule(
            f"has(self.{side}.variant) || !self.traffic.routes.exists(r, {_FLAG})",
            says=NO_VARIANT,
            at=f".{side}.variant",
        ),
    )


def _of_the_service(side: str) -> dict[str, Any]:
    return _rule(
        f"!has(self.{side}.service) || !{_IS_REPLICAS} || self.{side}.service == self.traffic.routes[0].name",
        expression=f"'\"' + self.{side}.service + {cel(f'{QUOTE} {NOT_THE_SERVICE}')}",
        at=f".{side}.service",
    )


_HAS_WEIGHTS: Final = "(has({0}.weight) || has({0}.weights))"
_READABLE: Final = (
    f"(self.stages.size() > 0 && self.stages.all(s, has(s.weight) ? {_is_percent('s.weight')}"
    f" : !has(s.weights) || s.weights.size() > 0 && s.weights.all(w, {_is_percent('w')})))"
)
_FIRST: Final = "(has({0}.weight) ? {0}.weight : {0}.weights[0])"
_LAST: Final = "(has({0}.weight) ? {0}.weight : {0}.weights[{0}.weights.size() - 1])"
_BEFORE: Final = _LAST.format("self.stages[i - 1]")
_END: Final = _LAST.format("self.stages[self.stages.size() - 1]")
_ENDS: Final = f"{_READABLE} && {_HAS_WEIGHTS.format('self.stages[self.stages.size() - 1]')}"
_MADE_FOR: Final = "double(self.name.find('[0-9]+(-[0-9])?$').replace('-', '.'))"

_PREDICATES: Final = (
    f"((i == 0 ? {_own_names('self.guards')} : []) + {_own_names('s.pass')} + {_own_names('s.fail')}"
    f" + {_own_names('s.warn')})"
)

_TASKS: Final = (
    f"({_names('self.assumptions')} + (has(self.expand) ? {_names('self.expand.jobs')} : [])"
    f" + (has(self.contract) ? {_names('self.contract.jobs')} : []))"
)

_PLAN: Final = (
    _rule(
        f"!({_ONE_DEPLOYMENT}) || self.traffic.routes.all(r, {_FLAG})",
        expression=f"'\"' + self.new.deployment + {cel(f'{QUOTE} {ONE_DEPLOYMENT}')}",
        at=".new.deployment",
    ),
    _rule(
        f"!({_ONE_DEPLOYMENT}) || {_OLD_SERVICE} == {_NEW_SERVICE} || !self.traffic.routes.all(r, {_FLAG})",
        expression=f"'\"' + {_NEW_SERVICE} + {cel(f'{QUOTE} {OTHER_SERVICE}')}",
        at=".new.service",
    ),
    _rule(
        f"{_ONE_DEPLOYMENT} || {_OLD_SERVICE} != {_NEW_SERVICE} || {_IS_REPLICAS}",
        expression=f"'\"' + {_NEW_SERVICE} + '\" is the old side\\'s Service too: give each side its own'",
        at=".new.service",
    ),
    *_variant("old"),
    *_variant("new"),
    _rule(
        "!has(self.old.variant) || !has(self.new.variant) || self.old.variant != self.new.variant"
        f" || !self.traffic.routes.exists(r, {_FLAG})",
        expression=f"'\"' + self.new.variant + {cel(f'{QUOTE} {SAME_VARIANT}')}",
        at=".new.variant",
    ),
    _rule(f"!{_IS_REPLICAS} || self.traffic.routes.size() == 1", says=ALONE, at=".traffic.routes"),
    _of_the_service("old"),
    _of_the_service("new"),
    _rule(
        f"!has(self.expand) || !has(self.expand.scale) || !has(self.expand.scale.new)"
        f" || self.expand.scale.new == 'None' || !{_SETS_PODS}",
        says=NOT_SCALED,
        at=".expand.scale.new",
    ),
    _rule(
        f"!has(self.contract) || !has(self.contract.scaleOld) || !{_SETS_PODS}",
        says=NOT_SCALED,
        at=".contract.scaleOld",
    ),
    _floor("interval", "1s"),
    _rule(
        f"!has(self.warmup) || !{_is_time('warmup')} || {_time('warmup')} == duration('0s')"
        f" || self.stages.all(s, has(s.warmup) || !has(s.soak) || !s.soak.matches({_TIME})"
        f" || {_time('warmup')} < {duration_in_cel('s.soak')})",
        expression=f"self.warmup + ' is not shorter than the soak of one of the stages: {WARMUP_FIX}'",
        at=".warmup",
    ),
    _rule(
        f"!{_READABLE} || self.stages.all(i, s, i == 0 || !{_HAS_WEIGHTS.format('self.stages[i - 1]')}"
        f" || !{_HAS_WEIGHTS.format('s')} || {_percent(_BEFORE)} < {_percent(_FIRST.format('s'))})",
        says="weights must increase from stage to stage: write each larger than the one before",
        at=".stages",
    ),
    _rule(
        f"!({_ENDS}) || has(self.stopAt) || {_percent(_END)} == 100.0",
        expression=f"'the last weight is ' + string({_END})"
        " + ': end the stages with 100%, or write stopAt to end there'",
        at=".stages",
    ),
    _rule(
        f"!({_ENDS}) || !has(self.stopAt) || !{_is_percent('self.stopAt')}"
        f" || {_percent(_END)} == {_percent('self.stopAt')}",
        expression=f"'the last weight is ' + string({_END}) + ': end the stages with '"
        f" + string(self.stopAt) + ', as stopAt says'",
        at=".stages",
    ),
    _rule(
        f"self.stages.exists(s, {_HAS_WEIGHTS.format('s')})",
        says=NO_WEIGHT,
        at=".stages",
    ),
    _rule(
        f"self.stages.all(i, s, i == 0 || {_HAS_WEIGHTS.format('s')} || !{_HAS_WEIGHTS.format('self.stages[i - 1]')})",
        says=f"a mirror or a match {AFTER_WEIGHT}",
        at=".stages",
    ),
    _rule(
        f"self.stages.map(s, has(s.weights) ? s.weights.size() : 1).sum() <= {MAX_STAGES}",
        says=f"too many weights in all stages together: write at most {MAX_STAGES}",
        at=".stages",
    ),
    _rule(
        f"{_judged('self.guards')} || self.stages.all(s, {_judged('s.pass')} || {_judged('s.fail')})",
        says=f"nothing judges one of the stages: {JUDGED_BY}",
        at=".stages",
    ),
    _rule(
        "self.stages.all(s, !has(s.name) || self.stages.exists_one(other, has(other.name) && other.name == s.name))",
        says="two stages have the same name: choose another name for the second",
        at=".stages",
    ),
    _rule(
        f"self.stages.transformMapEntry(i, s, {_PREDICATES}.transformMapEntry(j, name, {{name: j}})).size() >= 0",
        says="two predicates have the same name: choose another name for the second",
    ),
    _rule(
        f"{_TASKS}.transformMapEntry(i, name, {{name: i}}).size() >= 0",
        says="two tasks have the same name: choose another name for the second",
    ),
    _rule(
        f"!has(self.contract) || !({_wanted('self.contract')}) || !has(self.stopAt)"
        f" || !{_is_percent('self.stopAt')} || {_percent('self.stopAt')} == 100.0",
        says=NOT_BELOW_FULL,
        at=".contract",
    ),
    _rule(
        f"{_number_of('self.guards')} + self.stages.map(s, {_number_of('s.pass')} + {_number_of('s.fail')}"
        f" + {_number_of('s.warn')}).sum() <= {MAX_ALL_PREDICATES}",
        says=f"too many predicates in guards and all stages: write at most {MAX_ALL_PREDICATES}",
        at=".stages",
    ),
    _rule(
        f"!has(self.variables) || self.variables.all(name, name.matches({cel(VARIABLE)}))",
        says="a variable name is invalid: write letters and digits, a lower-case letter first",
        at=".variables",
    ),
    _rule(
        f"!has(self.variables) || self.variables.all(name, !(name in {list(BUILTIN_VARIABLES)}))",
        says=f"the operator sets {', '.join(BUILTIN_VARIABLES)} itself: choose another name for the variable",
        at=".variables",
    ),
)

_LOCKED: Final = _rule(
    "!has(oldSelf.status) || !has(oldSelf.status.lockedStages)"
    " || self.spec.old != oldSelf.spec.old || self.spec.new != oldSelf.spec.new"
    " || oldSelf.status.lockedStages.all(i, name, i < self.spec.stages.size() && i < oldSelf.spec.stages.size()"
    " && self.spec.stages[i] == oldSelf.spec.stages[i])",
    says="stages that have started (status.lockedStages) cannot be edited during the run: edit later ones, or end"
    " the run with `abort` first",
    at=".spec.stages",
)


def _ends_in_time(template: str) -> dict[str, Any]:
    """Whether the pods of a Job are stopped by the deadline beside it at the latest."""
    seconds = f"self.{template}.spec.activeDeadlineSeconds"
    return _rule(
        f"!has({seconds}) || !{_is_time('deadline')} || {seconds} <= {_time('deadline')}.getSeconds()",
        says=ENDS_IN_TIME,
        at=f".{template}.spec.activeDeadlineSeconds",
    )


def _with_job(rule: dict[str, Any]) -> dict[str, Any]:
    return {**rule, "rule": f"!has(self.job) || {rule['rule']}"}


_ASSUMPTION: Final = (
    _rule("has(self.job) != has(self.predicate)", says="set exactly one of job and predicate"),
    _floor("deadline", "1s"),
    _with_job(_ends_in_time("job.template")),
)

_STAGE: Final = (
    _rule(
        "[has(self.weight), has(self.weights), has(self.mirror), has(self.match)].exists_one(given, given)",
        says=ONE_STEP,
    ),
    _rule(f"has(self.name) || {_HAS_WEIGHTS.format('self')}", says=NAMELESS, at=".name"),
    _rule(
        f"!has(self.name) || {_HAS_WEIGHTS.format('self')} || !self.name.matches({cel(MADE_NAME)})",
        expression=f"'\"' + self.name + '\" {NAME_OF_WEIGHT}'",
        at=".name",
    ),
    _rule(
        f"!has(self.weights) || !self.weights.all(w, {_is_percent('w')})"
        f" || self.weights.all(i, w, i == 0 || {_percent('self.weights[i - 1]')} < {_percent('w')})",
        says="weights must increase: write each larger than the one before",
        at=".weights",
    ),
    _rule(
        f"!has(self.deadline) || !{_is_time('deadline')} || !{_is_time('soak')}"
        f" || {_time('deadline')} >= {_time('soak')}",
        expression="self.deadline + ' is shorter than the soak of ' + self.soak + ': write at least the soak'",
        at=".deadline",
    ),
    _rule(
        f"!has(self.warmup) || !{_is_time('warmup')} || !{_is_time('soak')}"
        f" || {_time('warmup')} == duration('0s') || {_time('warmup')} < {_time('soak')}",
        expression=f"self.warmup + ' is not shorter than the soak of ' + self.soak + ': {WARMUP_FIX}'",
        at=".warmup",
    ),
    _rule(
        f"!has(self.name) || !has(self.weight) || !self.name.matches({cel(MADE_NAME)})"
        f" || !{_is_percent('self.weight')} || {_MADE_FOR} == {_percent('self.weight')}",
        expression="'\"' + self.name + '\" is the name of a weight other than ' + string(self.weight) + ': change one'",
        at=".name",
    ),
    _rule("!has(self.pass) || !self.pass.exists(p, has(p.alert))", says=NOT_FOR, at=".pass"),
    _rule("!has(self.pass) || !self.pass.exists(p, has(p.noData) && p.noData == 'Clear')", says=NOT_CLEAR, at=".pass"),
)

_NUMBER: Final = "double(self.{0}.find('[+-]?[0-9.]+(e[+-]?[0-9]+)?'))"


def _counted(field: str, refused: str, why: str, spelling: TextFormat = IS) -> dict[str, Any]:
    """Refuse a comparison of events, if it is one at all."""
    return {
        **_rule(f"!({refused})", expression=f"{cel(QUOTE)} + self.{field} + {cel(QUOTE + ' ' + why)}", at=f".{field}"),
        GIVEN: f"has(self.events) && has(self.{field}) && self.{field}.matches({cel(spelling.pattern)})",
    }


_REFERS: Final = "(has(self.use) || has(self.template))"

_ONE_COMPARISON: Final = _rule("has(self.is) != has(self.vsOld)", says=ONE_COMPARISON)


def _beside(question: str, refused: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """What may not stand beside a question, with the words for each."""
    return tuple(
        _rule(f"!has(self.{question}) || !has(self.{_ESCAPED.get(name, name)})", says=says, at=f".{name}")
        for name, says in refused.items()
    )


_BESIDE: Final = _beside("events", NOT_WITH_EVENTS)

_PREDICATE: Final = (
    _rule(
        f"{_ONE_COMPARISON['rule']} || has(self.use) || has(self.alert) || (has(self.template) && !has(self.is))",
        says=ONE_COMPARISON,
    ),
    _rule(
        " + ".join(f"(has(self.{each}) ? 1 : 0)" for each in ("query", "events", "alert", "use", "template")) + " == 1",
        says=ONE_QUESTION,
    ),
    _rule(f"has(self.name) || {_REFERS}", says=MISSING, at=".name"),
    _floor("window", "1s"),
    _rule(
        f"!has(self.confidence) || has(self.events) || has(self.alert) || {_REFERS}",
        says=ONLY_WITH_EVENTS,
        at=".confidence",
    ),
    *_BESIDE,
    *_beside("alert", NOT_WITH_ALERT),
    *(
        _rule(f"!has(self.use) || !has(self.{_ESCAPED.get(name, name)})", says=NOT_WITH_USE, at=f".{name}")
        for name in (*OVERRIDES, "minSamples")
    ),
    _rule("!has(self.template) || !has(self.minSamples)", says=NOT_WITH_TEMPLATE, at=".minSamples"),
    _rule("!has(self.with) || has(self.template) || self.with.size() == 0", says=ONLY_WITH_TEMPLATE, at=".with"),
    _counted("is", "self.is.matches('^[!=]')", NO_EQUAL_COUNTS),
    _counted(
        "is",
        f"{_NUMBER.format('is')} <= 0.0 || {_NUMBER.format('is')} >= (self.is.endsWith('%') ? 100.0 : 1.0)",
        NO_SHARE,
    ),
    _counted("vsOld", "self.vsOld.matches('^[!=]')", NO_EQUAL_COUNTS, VS_OLD),
    _counted("vsOld", "self.vsOld.matches('[0-9]$')", NO_ABSOLUTE_COUNTS, VS_OLD),
    _counted(
        "vsOld",
        f"self.vsOld.matches('[%x]$') && {_NUMBER.format('vsOld')} <= (self.vsOld.endsWith('%') ? -100.0 : 0.0)",
        NO_RATIO,
        VS_OLD,
    ),
)


def _named(field: str, names: TextFormat) -> tuple[dict[str, Any], ...]:
    """As `_spelled`, for names of which some have the form and are forbidden all the same."""
    forbidden = (
        _rule(
            f"!has(self.{field}) || !self.{field}.exists(name, name.matches({cel(pattern)}))",
            says=f"one of the names {why}",
            at=f".{field}",
        )
        for pattern, why in names.forbidden
    )
    return _spelled(field, names), *forbidden


_SOURCE: Final = (
    _floor("timeout", "100ms"),
    _ceiling("timeout", "2m"),
    _floor("scrapeInterval", "100ms"),
    *_named("headers", HEADER),
    *_named("params", PARAMETER),
)
_AUTH: Final = (
    _rule(
        "[has(self.bearer), has(self.basic), has(self.mtls)].filter(written, written).size() <= 1",
        says=ONE_CREDENTIAL,
    ),
    _rule("has(self.bearer) || has(self.basic) || has(self.mtls) || has(self.caBundle)", says=NO_CREDENTIAL),
)
_CLUSTER_SOURCE: Final = (
    *_SOURCE,
    _spelled("enforce", SERIES_LABEL),
    _rule("!has(self.auth) || self.prometheus.url.startsWith('https://')", says=ONLY_HTTPS, at=".auth"),
)

_NOTIFIER: Final = (
    _floor("timeout", "100ms"),
    _ceiling("timeout", "8s"),
    _floor("giveUpAfter", "1m"),
    _ceiling("giveUpAfter", "24h"),
    *_named("headers", NOTIFIER_HEADER),
    _rule(
        f"!has(self.template) || self.template.findAll({cel(WORD.pattern.replace('(?:', '('))}).all(word,"
        f" word.replace('$', '').replace('{{', '').replace('}}', '') in [{', '.join(map(cel, WORDS))}])",
        says=UNKNOWN_WORD,
        at=".template",
    ),
)
_NOTIFIER_NAME: Final = (_rule(f"self.metadata.name.size() <= {LONGEST_NAME}", says=NAME_TOO_LONG),)

_WINDOW: Final = (
    _rule(
        "[has(self.weekly), has(self.daily), has(self.from) || has(self.to)].exists_one(written, written)",
        says="needs exactly one time: write weekly, daily, or from with to",
    ),
    _rule("has(self.from) == has(self.to)", says="from and to belong together: write both"),
    _rule(
        f"!has(self.from) || !has(self.to) || ![self.from, self.to].all(at, at.matches({cel(INSTANT.pattern)}))"
        " || timestamp(self.from) < timestamp(self.to)",
        says="is not after from: write a later timestamp",
        at=".to",
    ),
)
_RECURRING: Final = (
    _rule(
        "self.from != self.to",
        says="is the same as from: write another time, or freeze.now to freeze without an end",
        at=".to",
    ),
)

_NAMEABLE: Final = (
    _rule(
        "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
        says="metadata.name is not a name that a plan can use: write at most 63 lower-case letters, digits and '-'",
    ),
)
_TEMPLATE: Final = (
    _rule("has(self.query) != has(self.events)", says=ONE_BODY),
    _ONE_COMPARISON,
    _rule("has(self.events) || !has(self.confidence)", says=ONLY_WITH_EVENTS, at=".confidence"),
    *_BESIDE,
    _rule(
        "!has(self.parameters) || self.parameters.all(p, self.parameters.exists_one(other, other.name == p.name))",
        says=DUPLICATE_NAME,
        at=".parameters",
    ),
)

_BY_CONDITIONS: Final = (
    "has(self.accepted.conditions) && has(self.accepted.good)"
    " && (has(self.accepted.generation) || has(self.accepted.generationAt))"
)
_BY_WORD: Final = "has(self.accepted.value) && has(self.accepted.goodWords) && has(self.accepted.generationAt)"

_ACCEPTED: Final = (
    _floor("settle", "1s"),
    _ceiling("settle", "10m"),
    _rule("!has(self.value) || !has(self.conditions)", says=ONE_ANSWER, at=".value"),
    _rule("!has(self.generation) || has(self.conditions)", says=OF_CONDITIONS, at=".generation"),
)
_GROUP: Final = "(has(self.group) ? self.group : '')"
_ROUTE_KIND: Final = (
    _rule(
        f"!({_GROUP} in [{', '.join(map(cel, NO_ROUTES))}])"
        f" && ({_GROUP} != '' || self.resource in [{', '.join(map(cel, CORE_ROUTES))}])",
        says=NO_ROUTE,
        at=".resource",
    ),
    _rule(
        f"!has(self.weight) || !self.weight.matches('^({'|'.join(NO_TRAFFIC)})([^A-Za-z0-9_-]|$)')",
        says=NOT_TRAFFIC,
        at=".weight",
    ),
    _rule(
        "[has(self.rules) && self.rules.size() > 0, has(self.annotations), has(self.share)].exists_one(form, form)",
        says=ONE_FORM,
    ),
    _rule("!has(self.rules) || self.rules.size() == 0 || has(self.weight)", says=WEIGHT_OF_RULES, at=".weight"),
    _rule("!has(self.rules) || self.rules.size() == 0 || has(self.name)", says=NAME_OF_RULES, at=".name"),
    _rule("!has(self.single) || self.single.size() == 0 || has(self.rules)", says=SINGLE_OF_RULES, at=".single"),
    _rule(
        f"has(self.accepted) && (has(self.accepted.settle) || ({_BY_CONDITIONS}) || ({_BY_WORD}))",
        says=SETTLES,
        at=".accepted",
    ),
)

RULES: Final[Mapping[str, tuple[dict[str, Any], ...]]] = {
    "RolloutPlan": (
        _rule(
            "self.metadata.name.size() <= 63",
            says="metadata.name is too long for the names of Events and for labels: write at most 63 characters",
        ),
        _LOCKED,
    ),
    "PlanSpec": _PLAN,
    "Traffic": (
        _rule(
            "self.routes.all(r, self.routes.exists_one(other, other.kind == r.kind && other.name == r.name))",
            says="two routes have the same kind and name: name each once",
            at=".routes",
        ),
        _rule(
            f"!has(self.ownership) || self.ownership != 'Owned' || self.routes.all(r, r.kind == '{HTTP_ROUTE}')",
            says=ONLY_HTTP_ROUTES,
            at=".ownership",
        ),
        _floor("acceptedWithin", "1s"),
        _ceiling("acceptedWithin", "1h"),
    ),
    "RouteRef": (
        _rule(f"self.kind != '{FEATURE_FLAG}' || has(self.flag)", says=WHICH_FLAG, at=".flag"),
        _rule(
            f"self.kind == '{FEATURE_FLAG}' || !has(self.flag)",
            expression=f"'\"' + self.flag + {cel(f'{QUOTE} {NO_FLAG_HERE}')}",
            at=".flag",
        ),
        *(
            _rule(f"self.kind != '{FEATURE_FLAG}' || !has(self.{field})", says=BY_VARIANTS, at=f".{field}")
            for field in ("rules", "old", "new")
        ),
    ),
    "Assumption": _ASSUMPTION,
    "Contract": (
        _rule(
            f"!has(self.approval) || {_wanted('self')}",
            says=NOTHING_TO_APPROVE,
            at=".approval",
        ),
    ),
    "NamedJob": (_floor("deadline", "1s"), _ends_in_time("template")),
    "Observation": (_floor("window", "1s"),),
    "Match": (_rule("has(self.header) != has(self.cookie)", says=ONE_MATCH),),
    "StageSpec": _STAGE,
    "RouteKindSpec": _ROUTE_KIND,
    "Accepted": _ACCEPTED,
    "Sticky": (_floor("for", "1s"), _ceiling("for", "168h")),
    "Events": (
        _rule(
            "has(self.bad) == has(self.total) && has(self.histogram) == has(self.slowerThan)"
            " && has(self.bad) != has(self.histogram)",
            says="needs bad with total, or histogram with slowerThan: write one pair",
        ),
        *(
            _rule(
                f"!has(self.{field}) || !self.{field}.matches({cel(MORE_THAN_SERIES)})", says=AS_SCRAPED, at=f".{field}"
            )
            for field in ("bad", "total", "histogram")
        ),
        _rule(
            "!has(self.histogram) || !(self.histogram.contains('_bucket{') || self.histogram.endsWith('_bucket')"
            " || (self.histogram.startsWith('{') && !self.histogram.startsWith('{\"')"
            " && !self.histogram.contains('__name__')))",
            says=HISTOGRAM_NAME,
            at=".histogram",
        ),
        _floor("slowerThan", "1ms"),
    ),
    "Predicate": _PREDICATE,
    "PredicateTemplate": _NAMEABLE,
    "ClusterPredicateTemplate": _NAMEABLE,
    "PredicateTemplateSpec": _TEMPLATE,
    "OnMetricsUnavailable": (
        _rule("has(self.after) == has(self.then)", says="after and then belong together: write both or neither"),
    ),
    "MetricSourceSpec": (*_SOURCE, _rule("!has(self.auth)", says=CLUSTER_ONLY, at=".auth")),
    "ClusterMetricSourceSpec": _CLUSTER_SOURCE,
    "Auth": _AUTH,
    "Notifier": _NOTIFIER_NAME,
    "ClusterNotifier": _NOTIFIER_NAME,
    "NotifierSpec": (*_NOTIFIER, _rule("!has(self.auth)", says=NOTIFIER_CLUSTER_ONLY, at=".auth")),
    "ClusterNotifierSpec": (
        *_NOTIFIER,
        _rule(
            "!has(self.auth) || !has(self.webhook.url) || self.webhook.url.startsWith('https://')",
            says=NOTIFIER_ONLY_HTTPS,
            at=".auth",
        ),
    ),
    "ClusterWebhook": (_rule("has(self.url) != has(self.urlFile)", says=ONE_ADDRESS),),
    "NotifierSelector": (_spelled("matchLabels", LABEL),),
    "ClusterNotifierSelector": (_spelled("matchLabels", LABEL),),
    "Selector": (_spelled("matchLabels", LABEL), _spelled("namespaceLabels", LABEL)),
    "RolloutPolicySpec": (_floor("releaseAfter", "1m"),),
    "Window": _WINDOW,
    "Weekly": _RECURRING,
    "Daily": _RECURRING,
}
"""The rules of each model, by its name, and those of whole objects by their kind."""
