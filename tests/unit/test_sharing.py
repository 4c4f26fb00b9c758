"""Which tests one worker runs in a row, and which of them at the same time."""

from tests.sharing import AT_ONCE, BATCH, batch, fills, last_without_bed, together

ROLLOUTS = [f"{AT_ONCE}test_a.py::test_{n}" for n in range(BATCH + 2)]
ON_GATEWAYS = [
    f"tests/routers/test_{module}.py::test_{name}[{gateway}-{plane}]"
    for gateway in ("Contour", "Traefik")
    for module, name in (("runs", "one"), ("traffic", "one"), ("traffic", "one_more"))
    for plane in ("HTTPRoute", "GRPCRoute")
]
OTHERS = ["tests/e2e/test_chart.py::test_1", "tests/e2e/test_chart.py::test_2", "tests/e2e/test_bed.py::test_1"]
ALL = [*ON_GATEWAYS, *ROLLOUTS, *OTHERS]


def test_a_batch_is_the_next_so_many() -> None:
    assert [batch(nodeid, ALL) for nodeid in ROLLOUTS] == [ROLLOUTS[:BATCH]] * BATCH + [ROLLOUTS[BATCH:]] * 2


def test_on_a_gateway_a_batch_is_one_test_on_all_planes() -> None:
    assert [batch(nodeid, ALL) for nodeid in ON_GATEWAYS] == [
        ON_GATEWAYS[n : n + 2] for n in range(0, len(ON_GATEWAYS), 2) for _ in range(2)
    ]


def test_a_batch_a_gateway_and_a_module_that_is_not_divided_are_groups() -> None:
    groups = [together(nodeid, ALL) for nodeid in ALL]
    assert len(set(groups)) == 2 + 2 + 2
    assert groups[-3] == groups[-2] != groups[-1]


def test_the_last_of_three_workers_or_more_begins_with_what_needs_no_bed() -> None:
    without = {workers: [n for n in range(workers) if fills(f"gw{n}", workers)] for workers in range(1, 6)}
    assert without == {1: [], 2: [], 3: [2], 4: [3], 5: [4]}


def test_it_begins_with_what_others_would_come_to_last() -> None:
    groups = [*dict.fromkeys(together(nodeid, ALL) for nodeid in ALL)]
    assert last_without_bed(groups) is None
    assert last_without_bed(["tests/unit/test_a.py", "tests/unit/test_b.py", *groups]) == "tests/unit/test_b.py"
