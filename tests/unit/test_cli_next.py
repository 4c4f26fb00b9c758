"""The next release from the files of the last one: names, weights, texts that stay, and what is refused."""

import shutil
from pathlib import Path

import pytest
import yaml

from rolloutplan.api.status import Phase
from rolloutplan.cli.main import main
from rolloutplan.cli.naming import next_name
from tests.world import Deployment, World, http_route

EXAMPLES = Path(__file__).parents[2] / "examples"
HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: checkout-VERSION, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: checkout-VERSION}
  minReplicas: 3
  maxReplicas: 9
"""
DEPLOYMENT = """\
# how VERSION runs
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout-VERSION, namespace: shop, labels: {app: checkout}}
spec:
  selector: {matchLabels: {app: checkout, version: "VERSION"}}
  template:
    metadata: {labels: {app: checkout, version: "VERSION"}}   # its own
    spec:
      containers:
        - {name: app, image: "registry.example.com/shop/checkout:1.VERSION", ports: [{name: http, containerPort: 80}]}
        - {name: proxy, image: registry.example.com/proxy:7}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: checkout-VERSION, namespace: shop}
spec:
  selector: {app: checkout, version: VERSION}
  ports: [{port: 80, targetPort: http}]
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout, namespace: shop}
spec:
  parentRefs: [{name: eg}]
  rules:
    - backendRefs:
        - {name: checkout-OLD, port: 80, weight: 0}
        - {name: checkout-NEW, port: 80, weight: 100}   # the one to come
"""
PLAN = """\
# how every release is judged
apiVersion: rolloutplan.dev/v1alpha1
kind: RolloutPlan
metadata: {name: checkout-NEW, namespace: shop}
spec:
  old: {deployment: checkout-OLD}
  new: {deployment: checkout-NEW}   # brings it
  traffic: {routes: [{kind: HTTPRoute, name: checkout}]}
  guards:
    - {name: errors, query: 'sum(rate(errors_total{deployment="$deployment"}[$window]))', is: "> 1"}
  stages: [{weights: [5%, 50%, 100%]}]
"""


def release(old: str, new: str) -> str:
    """All that Git has of a release that is live."""
    versions = [text.replace("VERSION", version) for version in (old, new) for text in (DEPLOYMENT, SERVICE, HPA)]
    return "---\n".join(
        [*versions, ROUTE.replace("OLD", old).replace("NEW", new), PLAN.replace("OLD", old).replace("NEW", new)]
    )


def started(text: str) -> str:
    """The same as it is when the release begins."""
    return text.replace("weight: 0}", "weight: 77}").replace("weight: 100}", "weight: 0}").replace("77", "100")


IMAGE = "registry.example.com/shop/checkout:1.v3"


def made(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "release.yaml"
    file.write_text(text)
    code = main(["next", str(file), *options])
    said = capsys.readouterr()
    return code, said.out, said.err.replace(f"{tmp_path}/", "")


def test_the_next_release_is_the_last_one_with_other_names_and_an_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every comment, the order and the quotes stay."""
    code, out, err = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE)
    bodies = {
        kind: release("v2", "v3").split("---\n")[i] for i, kind in enumerate(("d2", "s2", "h2", "d3", "s3", "h3"))
    }
    route, plan = started(release("v2", "v3")).split("---\n")[6:]
    order = [bodies[each] for each in ("d2", "d3", "s2", "s3", "h2", "h3")]
    comment = "# how v2 runs\n"  # belongs to the text before the names
    assert code == 0
    assert out == "---\n".join([*order, route, plan]).replace("# how v3 runs\n", comment)
    assert err == (
        "rolloutplan: left out, because the plan names them no more: Deployment shop/checkout-v1,"
        " Service shop/checkout-v1, HorizontalPodAutoscaler shop/checkout-v1\n"
    )


def test_the_weights_of_the_end_are_written_once_the_plan_has_succeeded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = release("v1", "v2")
    assert made(tmp_path, capsys, started(live), "--live") == (0, live, "")
    assert made(tmp_path, capsys, live, "--live") == (0, live, "")


def weights_in(text: str) -> dict[str, int]:
    """The weights of the route in Git."""
    (route,) = (each for each in yaml.safe_load_all(text) if each["kind"] == "HTTPRoute")
    return {each["name"]: each["weight"] for each in route["spec"]["rules"][0]["backendRefs"]}


@pytest.mark.parametrize(("errors", "phase"), [(0.0, Phase.SUCCEEDED), (2.0, Phase.ROLLED_BACK)])
def test_git_has_the_weights_of_the_cluster_after_a_run(
    errors: float, phase: Phase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline commits the next release, and the weights of the end if it has succeeded. What is applied is run."""
    _, git, _ = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE)
    (plan,) = (each for each in yaml.safe_load_all(git) if each["kind"] == "RolloutPlan")
    sides = [plan["spec"][side]["deployment"] for side in ("old", "new")]
    world = World(
        spec=plan["spec"],
        old=Deployment(sides[0]),
        new=Deployment(sides[1]),
        services=frozenset(sides),
        routes={"checkout": http_route("checkout", [weights_in(git)])},
    )
    world.says["errors"] = errors
    world.until(phase)
    if phase is Phase.SUCCEEDED:
        _, git, _ = made(tmp_path, capsys, git, "--live")
    assert world.weights("checkout")[0] == weights_in(git)


def test_nothing_else_of_a_file_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"---\n# first\n---\r\n{release('v1', 'v2')}---\n# last"
    assert made(tmp_path, capsys, started(text), "--live")[1] == text
    new = text.replace("1.v2", "1.v3")
    assert made(tmp_path, capsys, new, "--image", IMAGE)[1] == new


def test_objects_may_be_in_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = release("v1", "v2").split("---\n")
    for number, part in enumerate(parts):
        (tmp_path / f"{number}.yaml").write_text(started(part))
    assert main(["next", str(tmp_path), "--live"]) == 0
    assert capsys.readouterr().out == "---\n".join(parts)
    with pytest.raises(SystemExit):
        main(["next", str(tmp_path), "--live", "--write"])


def test_a_second_time_nothing_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, once, _ = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE)
    code, twice, err = made(tmp_path, capsys, once, "--image", IMAGE)
    assert (code, twice) == (0, once)
    assert err == f"rolloutplan: checkout-v3 has the image {IMAGE} already: nothing to do\n"


def test_a_file_is_changed_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, once, _ = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE)
    for _ in range(2):
        assert made(tmp_path, capsys, (tmp_path / "release.yaml").read_text(), "--image", IMAGE, "--write")[:2] == (
            0,
            "",
        )
        assert (tmp_path / "release.yaml").read_text() == once


def test_a_deployment_that_is_given_names_the_next_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = DEPLOYMENT.replace("VERSION", "v9")
    (tmp_path / "v9.yaml").write_text(text)
    code, out, _ = made(tmp_path, capsys, release("v1", "v2"), "--deployment", str(tmp_path / "v9.yaml"))
    objects = list(yaml.safe_load_all(out))
    assert code == 0
    assert text in out
    assert objects[-1]["spec"]["new"] == {"deployment": "checkout-v9"}
    assert [each["name"] for each in objects[-2]["spec"]["rules"][0]["backendRefs"]] == ["checkout-v2", "checkout-v9"]


def test_of_two_slots_the_idle_one_gets_the_image_and_the_sides_change_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = release("a", "b").replace(
        "metadata: {name: checkout-b, namespace: shop}\nspec:\n  old", "metadata: {name: shop}\nspec:\n  old"
    )
    code, out, err = made(tmp_path, capsys, text, "--image", IMAGE, "--name", "checkout-a")
    assert (code, err) == (0, "")
    changed = [(was, now) for was, now in zip(text.splitlines(), out.splitlines(), strict=True) if was != now]
    assert [now.strip() for _, now in changed] == [
        f'- {{name: app, image: "{IMAGE}", ports: [{{name: http, containerPort: 80}}]}}',
        "old: {deployment: checkout-b}",
        "new: {deployment: checkout-a}   # brings it",
    ]


def test_what_comes_out_is_what_lint_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE)
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "release.yaml").write_text(out)
    assert main(["lint", "--strict", str(tmp_path / "next")]) == code
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_have_a_next_release_that_lint_takes(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = [each for each in yaml.safe_load_all(example.read_text()) if each["kind"] == "RolloutPlan"]
    if not plans:
        pytest.skip("no plan in it")
    new = plans[0]["spec"]["new"]["deployment"]
    shutil.copy(example, tmp_path)
    (tmp_path / "live.yaml").write_text(DEPLOYMENT.replace("checkout-VERSION", new).replace("VERSION", "v2"))
    assert main(["next", str(tmp_path), "--image", IMAGE]) == 0
    out = capsys.readouterr().out
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "release.yaml").write_text(out)
    assert f"deployment: {new.replace('v2', 'v3')}" in out
    assert main(["lint", str(tmp_path / "next")]) == 0


# ---- what is refused -------------------------------------------------------------------------------------------------

LIVE = release("v1", "v2")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            started(LIVE),
            ["--image", IMAGE],
            "backendRefs[0].weight: checkout-v1 has weight 100 and checkout-v2 0: once",
        ),
        (release("blue", "green"), ["--image", IMAGE], '"checkout-green" has no number that can be counted up: give'),
        (release("1-3-0", "1-4-0"), ["--image", IMAGE], "--name 'checkout-{tag}'"),
        (LIVE, ["--image", IMAGE, "--name", "checkout-v2"], "checkout-v2 is what went out last"),
        (LIVE, ["--image", IMAGE, "--name", "Checkout"], 'spec.new.deployment: "Checkout"'),
        (LIVE, ["--image", "registry.example.com/cart:3"], "no container has an image of registry.example.com/cart"),
        (LIVE.replace(', version: "v2"', ""), ["--image", IMAGE], "spec.selector: no label here says the version"),
        (LIVE.replace("weight: 100}", "}"), ["--image", IMAGE], "backendRefs[1].weight: there is no weight here"),
        (
            PLAN.replace("OLD", "v1").replace("NEW", "v2"),
            ["--image", IMAGE],
            "Deployment checkout-v2 is not among these",
        ),
        (PLAN.replace("OLD", "v1").replace("NEW", "v2"), ["--live"], "no route of the plan is among these files"),
        (f"{LIVE}---\n{PLAN}", ["--image", IMAGE], "one release has one plan, and these files have RolloutPlan"),
        (SERVICE, ["--image", IMAGE], "one release has one plan, and these files have none"),
        (LIVE.replace("old: {", "older: {"), ["--image", IMAGE], "spec.old: required field is missing"),
        (
            LIVE.replace("kind: HTTPRoute, name", "kind: Replicas, name"),
            ["--image", IMAGE],
            "create it with kubectl",
        ),
        (
            LIVE.replace("kind: HTTPRoute, name: checkout", "kind: FeatureFlag, name: checkout, flag: cart")
            .replace("old: {", 'old: {variant: "off", ')
            .replace("new: {", 'new: {variant: "on", '),
            ["--image", IMAGE],
            "write on into spec.old.variant and the next one into spec.new.variant",
        ),
    ],
)
def test_what_cannot_be_told_from_the_files_is_refused_with_the_fix(
    text: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = made(tmp_path, capsys, text, *options)
    assert (code, out) == (1, "")
    assert words in err
    assert (tmp_path / "release.yaml").read_text() == text


@pytest.mark.parametrize("options", [[], ["--live", "--image", "a:1"], ["--image=a:1", "--deployment=b.yaml"]])
def test_one_thing_is_asked_at_a_time(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["next", "release.yaml", *options])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("old", "new", "given", "image", "name"),
    [
        ("checkout-v1", "checkout-v2", "", "", "checkout-v3"),
        ("checkout-v8", "checkout-v9", "", "", "checkout-v10"),
        ("checkout-08", "checkout-09", "", "", "checkout-10"),
        ("checkout", "checkout-2", "", "", "checkout-3"),
        ("checkout-1-4-0", "checkout-1-5-0", "checkout-{tag}", "shop/checkout:1.6.0", "checkout-1-6-0"),
        ("checkout-1", "checkout-2", "checkout-{tag}", "localhost:5000/checkout:V7_b@sha256:12", "checkout-v7-b"),
    ],
)
def test_names(old: str, new: str, given: str, image: str, name: str) -> None:
    assert next_name(old, new, given, image) == name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('image: "registry', 'image: &img "registry'),
        ('image: "registry', 'image: !!str "registry'),
        ("weight: 100}", "weight: &all 100}"),
    ],
)
def test_a_value_with_an_anchor_or_a_tag_is_not_changed(
    before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an alias elsewhere says would change with it, or be without its anchor."""
    code, out, err = made(tmp_path, capsys, release("v1", "v2").replace(before, after), "--image", IMAGE)
    assert (code, out) == (1, "")
    assert "without an anchor" in err


@pytest.mark.parametrize("image", ["", "a:{x}, y: z", 'a:1"\nfoo: bar', "a:1\x1b[2J", "&a"])
def test_what_is_no_image_is_refused(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        made(tmp_path, capsys, release("v1", "v2"), "--image", image)
    assert ended.value.code == 2
    assert "is no image" in capsys.readouterr().err


def test_what_would_be_no_yaml_is_neither_printed_nor_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolloutplan.cli.next._joined", lambda _: "a: *gone\n")
    code, out, err = made(tmp_path, capsys, release("v1", "v2"), "--image", IMAGE, "--write")
    assert (code, out) == (1, "")
    assert "no valid YAML" in err
    assert (tmp_path / "release.yaml").read_text() == release("v1", "v2")
