"""What the demo says at its end, and whether it ended as it should."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rolloutplan.api.quantities import format_weight
from rolloutplan.api.status import Phase
from tests.bed import Bed
from tests.bed.load import Key
from tests.demo import BAD, GOOD
from tests.demo.rollback import Rollback
from tests.demo.watch import Moment, Plan

ENDS = {GOOD: Phase.SUCCEEDED, BAD: Phase.ROLLED_BACK}
WEIGHTS = {"checkout-v1": 0, GOOD: 100, BAD: 0}


@dataclass(frozen=True)
class Story:
    """All that is known when it is over. `counts` are the load generator's."""

    moment: Moment
    weights: Mapping[str, int]
    counts: Mapping[Key, int]
    rollback: Rollback

    @property
    def faults(self) -> int:
        return self.counts.get(("v3", 500), 0)

    @property
    def served(self) -> int:
        return sum(n for (_, outcome), n in self.counts.items() if outcome == 200)

    @property
    def lost(self) -> int:
        """Whatever was neither served nor failed by the fault that v3 was given."""
        return sum(self.counts.values()) - self.served - self.faults


def well(out: Console, story: Story) -> bool:
    """Say whether it ended as it should, as the last line."""
    wrong = list(complaints(story))
    for line in wrong:
        out.print(f"WRONG: {line}", style="bold red", markup=False)
    if not wrong:
        ends = " and ".join(f"{name} {end}" for name, end in ENDS.items())
        words = f"All as it should be: {ends}, {story.moment.seconds:.0f} s after the bed was up."
        out.print(words, style="bold green")
    return not wrong


def complaints(story: Story) -> Iterator[str]:
    """What went wrong, a line each."""
    for name, end in ENDS.items():
        status = story.moment.status(name)
        if status.phase is not end:
            yield f"{name} should be {end}, and is {status.phase}: {status.message or 'it was never applied'}"
    if story.weights != WEIGHTS:
        yield f"the weights should be {_weights(WEIGHTS)}, and are {_weights(story.weights)}"
    if story.lost:
        yield f"{story.lost} answers were lost: {dict(story.counts)}"
    if not story.faults:
        yield "v3 failed no request, so the rollback shows nothing"


def _weights(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{service} {weight}" for service, weight in weights.items())


def tell(out: Console, story: Story, bed: Bed) -> None:
    _section(out, "Outcome", _plans(story))
    _section(out, "Rollback of v3", _rollback(story.rollback))
    _section(out, "Answers", _answers(story))
    _section(out, "What an on-call person sees")
    _command(out, bed, "kubectl get rp -n shop")
    _command(out, bed, f"kubectl events -n shop --for rolloutplan/{BAD}", last=3)
    out.print("# the same by hand, with no operator (annotation rolloutplan.dev/revert):", style="dim")
    revert = next((event.revert for event in reversed(story.moment.events) if event.plan == BAD and event.revert), "-")
    out.print(revert, markup=False, soft_wrap=True)
    out.print()


def _section(out: Console, title: str, *content: Table) -> None:
    out.print()
    out.print(Text(title, "bold"), *content, sep="\n")


def _table(*columns: str) -> Table:
    table = Table(box=None, show_header=bool(columns), header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column == "took" else "left")
    return table


def _plans(story: Story) -> Table:
    table = _table("plan", "outcome", "took", "stages")
    for plan in story.moment.plans:
        phase = plan.status.phase
        style = "green" if phase is ENDS[plan.view.name] else "red"
        table.add_row(plan.view.name, Text(phase, style), f"{_took(plan):.1f} s", Text(_stages(plan)))
    return table


def _took(plan: Plan) -> float:
    decisions = plan.status.decisions
    return (decisions[-1].at - decisions[0].at).total_seconds() if decisions else 0.0


def _stages(plan: Plan) -> str:
    """`5%, 25%, 50%, 100%`; of a plan that came back only those that it saw, and why."""
    status = plan.status
    last = status.stage.index if status.stage else -1
    steps = plan.view.spec.steps() if plan.view.spec else ()
    seen = ", ".join(format_weight(step.permille) for step in steps if step.index <= last)
    proof = next((d.observed for d in status.decisions if d.reason == "RollbackStarted"), "")
    return f"{seen}; {proof}" if proof else seen


def _rollback(times: Rollback) -> Table:
    rows = [
        (times.shifted, "the weight of v3 is verified"),
        (times.bad, "v3 fails its first request"),
        (times.visible, "a query can see it (the guard's own, asked every 50 ms)"),
        (times.decided, "the guard trips: its window lies within the stage by now"),
        (times.restored, "the old weights are in the API server"),
        (times.over, "v3 gives its last answer"),
    ]
    known = sorted((at, what) for at, what in rows if at is not None)
    table = _table()
    for at, what in known:
        table.add_row(f"{at - known[0][0]:5.2f} s", what)
    if times.restored is None:
        return table
    spans = {"first bad answer": times.bad, "bad sample visible": times.visible, "verdict known": times.decided}
    for what, since in spans.items():
        if since is not None:
            table.add_row(f"{times.restored - since:5.2f} s", f"from {what} to old weights", style="bold")
    return table


def _answers(story: Story) -> Table:
    table = _table("served", "failed by the fault", "lost by us")
    table.add_row(f"{story.served:,}", f"{story.faults:,} (v3's 500s)", str(story.lost))
    return table


def _command(out: Console, bed: Bed, line: str, last: int = 0) -> None:
    """Run a command of kubectl and show what it prints, or the last lines of it."""
    out.print(f"$ {line}{f' | tail -n {last}' if last else ''}", style="dim", markup=False, soft_wrap=True)
    for printed in bed.kubectl(*line.split()[1:]).splitlines()[-last:]:
        out.print(printed.rstrip(), markup=False, soft_wrap=True)
