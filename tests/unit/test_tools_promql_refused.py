"""What Prometheus refuses is an error with its place and the author's own text; other servers may know more."""

import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.rendering import BUILTIN_VARIABLES
from rolloutplan.api.spec import read_plan_spec
from rolloutplan.tools.lint.plans import lint_plan, warnings_of
from rolloutplan.tools.promql.meaning import meaning_of
from rolloutplan.tools.promql.queries import Finding, lint_query
from rolloutplan.tools.promql.text import FilledText
from rolloutplan.tools.promql.traps import Asking
from tests.promql_refusals import PIECES, REFUSED, REGEX_PIECES, TAKEN
from tests.refusals import changed
from tests.unit.test_tools_lint import PLAN

REFUSING = ("syntax", "type")


def refusals(query: str | FilledText, flavor: str = "Prometheus") -> list[Finding]:
    return [each for each in lint_query(query, Asking(flavor=flavor)) if each.rule in REFUSING]


@pytest.mark.parametrize(("query", "words"), REFUSED, ids=[query for query, _ in REFUSED])
def test_a_query_that_prometheus_refuses_is_an_error(query: str, words: str) -> None:
    (found,) = refusals(query)
    assert (found.severity, found.words) == ("error", words)
    assert found.offset is not None
    assert 0 <= found.offset <= len(query)


@pytest.mark.parametrize("query", TAKEN)
def test_a_query_that_prometheus_takes_is_none(query: str) -> None:
    assert [each for each in lint_query(query, Asking()) if each.severity == "error"] == []


@pytest.mark.parametrize("flavor", ["Thanos", "Mimir", "VictoriaMetrics"])
def test_other_servers_may_take_it(flavor: str) -> None:
    (found,) = refusals("median(x)", flavor)
    assert found.severity == "warning"
    assert found.words.endswith(f"({flavor} may support it)")
    guards = [{"name": "g", "query": 'median(x{d="$new"})', "is": "> 0"}]
    spec = read_plan_spec(changed(PLAN, {"guards": guards}))
    assert {each.severity for each in lint_plan(spec, None, flavor) if each.rule == "type"} == {"warning"}
    assert {each.severity for each in lint_plan(spec, None) if each.rule == "type"} == {"error"}
    assert "median() is not a function" in warnings_of(spec, None, flavor)


ANSWERS = {
    '"0.1"': "the result is a string, and a predicate needs one number: query a metric",
    "x_total[5m]": (
        "the result is a range, and a predicate needs one number: put a function around it: rate(x_total[5m])"
    ),
    "x[5m]": "the result is a range, and a predicate needs one number: put a function around it: avg_over_time(x[5m])",
    "sum(x)[5m:1m]": "the result is a range, and a predicate needs one number: put a function around it:"
    " avg_over_time(sum(x)[5m:1m])",
}


@pytest.mark.parametrize(("query", "words"), ANSWERS.items())
def test_an_answer_that_is_no_number_is_an_error(query: str, words: str) -> None:
    (found,) = (each for each in lint_query(query, Asking()) if each.rule == "no-number")
    assert (found.severity, found.words) == ("error", words)


def test_the_place_is_in_the_text_of_the_author() -> None:
    written = 'sum(rate(http_requests_total{namespace="$namespace",\n  service="$service"}[$window]) /\n  sum(rate(y))'
    values = {"namespace": "a-long-name", "service": "s", "window": "60s"}
    (found,) = refusals(FilledText.fill(written, values))
    assert found.words.startswith("line 1, column 4, at '(rate(http_requests_total': \"(\" is never closed")
    (found,) = refusals(FilledText.fill(written.replace(" /", ") /").replace("(y)", '(y{a="$service"})'), values))
    assert found.words == (
        'line 3, column 12, at \'y{a="$service"}\': rate() needs a range, such as x[$window], and y{a="s"}'
        " is an instant"
        ' vector: write rate(y{a="s"}[$window])'
    )
    assert found.offset == written.index("y)") + 1


KNOWN = (
    "Known: $namespace (the plan's namespace), $plan (the plan's name), $stage (the stage's name), $deployment (the"
    " Deployment of the side that is asked), $service (its Service), $old (the old Deployment), $new (the"
    " new Deployment),"
    " $window (the predicate's window), $elapsed (the time at this weight),"
    " $variant (its variant of a feature flag)"
)
UNKNOWN = {
    'x{pod=~"$pod"}': f'$pod is not a variable: for pods write pod=~"$deployment-[a-z0-9]+-[a-z0-9]{{5}}". {KNOWN}',
    'x{a="$deploymnet"}': f"$deploymnet is not a variable: did you mean $deployment? {KNOWN}",
    'x{a="${servcie}"}': f"${{servcie}} is not a variable: did you mean $service? {KNOWN}",
    'x{a="$Namespace"}': f"$Namespace is not a variable: did you mean $namespace? {KNOWN}",
    "rate(x[$__rate_interval])": f"$__rate_interval is not a variable: write $window. {KNOWN}",
    "rate(x[$interval])": f"$interval is not a variable: write $window. {KNOWN}",
    'x{a="$svc"}': f"$svc is not a variable: write $service. {KNOWN}",
    'x{a="$ns"}': f"$ns is not a variable: write $namespace. {KNOWN}",
    'x{a="$app"}': f"$app is not a variable: write $deployment. {KNOWN}",
    'x{a="$canary"}': f"$canary is not a variable: write $new, or $deployment for the side that is asked. {KNOWN}",
    'x{a="$stable"}': f"$stable is not a variable: write $old. {KNOWN}",
    'x{a="$squad"}': f"$squad is not a variable: define it in variables. {KNOWN}",
    'x{a="${SQUAD}"}': "${SQUAD} is not a variable: define it in variables; if another tool fills it in (envsubst,"
    " Flux), it"
    f" has not yet. {KNOWN}",
    'x{a="$(cluster)"}': "$(cluster) is a parameter of a template, and nothing fills it in here: in a plan write"
    " $cluster, and"
    " define it in variables",
    'x{a="{{ .Values.name }}"}': "{{ .Values.name }} is of another tool (Helm, alerting rules), and nothing fills it in"
    " here:"
    " render the file with it first, or write a variable such as $deployment",
    'x{a="{{ $labels.pod }}"}': "{{ $labels.pod }} is of another tool (Helm, alerting rules), and nothing fills it in"
    " here:"
    " render the file with it first, or write a variable such as $deployment",
}


@pytest.mark.parametrize(("query", "words"), UNKNOWN.items(), ids=UNKNOWN)
def test_a_variable_that_nobody_fills_in_is_an_error(query: str, words: str) -> None:
    values = dict.fromkeys(BUILTIN_VARIABLES, "a")
    (found,) = (each for each in lint_query(FilledText.fill(query, values), Asking()) if each.severity == "error")
    assert (found.rule, found.words) == ("unknown-variable", words)
    assert found.offset == min(query.index(each) for each in ("$", "{{") if each in query)


@pytest.mark.parametrize(
    "query",
    [
        'x{a=~"v2|v3$"}',
        'label_replace(sum(x), "a", "$1", "b", "(.*)")',
        'label_replace(sum(x), "a", "${name}-b", "b", "(?P<name>.*)")',
        "sum(x) # costs $much and {{ more }}",
        'x{a="$namespace-${service}"}',
    ],
)
def test_a_dollar_that_is_no_variable_is_none(query: str) -> None:
    values = dict.fromkeys(BUILTIN_VARIABLES, "a")
    assert [each for each in lint_query(FilledText.fill(query, values), Asking()) if each.severity == "error"] == []


def test_the_variables_of_the_plan_are_listed_too() -> None:
    guards = [{"name": "g", "query": 'sum(x{d="$new",t="$taem"})', "is": "> 0"}]
    (found,) = (each for each in lint_plan(read_plan_spec(changed(PLAN, {"guards": guards})), None) if each.offset)
    assert found.words.startswith("$taem is not a variable: did you mean $team?")
    assert found.words.endswith("and of this plan $team")


TEXTS = (
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)
    | st.lists(st.sampled_from(REGEX_PIECES), max_size=8).map(lambda each: 'x{a=~"' + "".join(each) + '"}')
    | st.text(max_size=40)
    | st.text(max_size=10).map(lambda each: f'x{{a="{each}"}}')
    | st.sampled_from(
        [f"0x{'f' * 400} * x", f"x[0x{'f' * 400}]", "x[" + "9" * 400 + "s]", "1e999 * sum(x) / 1e-320", "x / 0"]
    )
)


@given(TEXTS)
def test_nothing_but_findings_comes_of_nonsense(text: str) -> None:
    def meaning(query: object) -> list[Finding]:
        meaning_of(query.top)  # type: ignore[attr-defined]
        return []

    for found in lint_query(text, Asking(reach=timedelta(minutes=1)), checks=[lambda query: iter(meaning(query))]):
        assert found.words.isprintable() or not text.isprintable()
        assert found.offset is None or 0 <= found.offset <= len(text)


@pytest.mark.parametrize(
    "part", ["x+", "(", '{a="b"},', 'a=~"(b|c)*",', "[5m]", "'", '"\\', "sum by (a,", "1", "$a ", "{{", "{{a}}", "#\n"]
)
def test_the_time_grows_with_the_length(part: str) -> None:
    """Of the processor, in one of three tries: where it grew with the square, it would be 64 times as much."""

    def seconds(length: int) -> float:
        text, began = 'x{a="b",' + part * (length // len(part)), time.thread_time()
        lint_query(text, Asking())
        return time.thread_time() - began

    assert any(seconds(32_000) < 30 * seconds(4_000) + 0.02 for _ in range(3))


SLOW = {
    "an expression that can be tried in many ways": (
        'max(x{code=~"(((((.*)*)*)*)*)*x",pod=~"((.*)*)*$new",outcome=~"(a*)*b"})'
    ),
    "expressions with many repetitions": "max(x{" + ",".join([f'pod=~"{".*" * 20}$new{i}"' for i in range(50)]) + "})",
    "many divisions": "/".join(["sum(rate(x_total[$window]))"] * 33),
    "divisions in divisions": "x/(" * 48 + "x" + ")" * 48,
    "many variables": f'max(x{{a="{"$new" * 700}"}})',
}


@pytest.mark.parametrize("query", SLOW.values(), ids=SLOW)
def test_no_query_takes_long(query: str) -> None:
    """Of the processor: a query takes half a millisecond, and a square or a power of two would take minutes."""
    guards = [{"name": "g", "query": query, "is": "> 1"}]
    spec = read_plan_spec(changed(PLAN, {"guards": guards}))
    began = time.thread_time()
    lint_plan(spec, None)
    assert time.thread_time() - began < 2
