"""How the demo is shown: a live screen on a terminal, plain lines elsewhere."""

from contextlib import AbstractContextManager
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from tests.demo.screen import picture
from tests.demo.watch import Moment

STATUS_EVERY = 5.0


class View(AbstractContextManager["View"], Protocol):
    def show(self, moment: Moment) -> None:
        """Show what has changed."""


def view(console: Console) -> View:
    return Screen(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Screen(View):
    """One picture that fills the terminal, and gives it back in the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        self._live.update(picture(moment), refresh=True)


class Lines(View):
    """A line for each Event and each change of weights, and every few seconds one on how it stands."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._weights = ""
        self._status_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, moment: Moment) -> None:
        for event in moment.events[self._told :]:
            self._say(moment, f"{event.plan}: {event.reason}: {event.note}")
        self._told = len(moment.events)
        weights = "  ".join(f"{version.name} {version.asked:.0%}" for version in moment.versions)
        if weights != self._weights:
            self._weights = weights
            self._say(moment, f"weights: {weights}")
        if moment.seconds - self._status_at >= STATUS_EVERY:
            self._status_at = moment.seconds
            self._say(moment, _status(moment))

    def _say(self, moment: Moment, line: str) -> None:
        self._console.print(f"{moment.seconds:5.1f} s  {escape(line)}", soft_wrap=True)


def _status(moment: Moment) -> str:
    measured = "  ".join(f"{version.name} {version.measured:.1%}" for version in moment.versions)
    traffic = f"{moment.per_second:.0f} answers/s, measured {measured}, {moment.lost} lost"
    if not (plan := moment.current):
        return traffic
    stage = f" {plan.status.stage.display}" if plan.status.stage else ""
    verdicts = "; ".join(
        f"{r.role} {r.name} {r.value or '-'} ({r.bound}) {r.verdict}{f', {r.note}' if r.note else ''}"
        for r in moment.readings
    )
    return f"status: {plan.view.name}: {plan.status.phase}{stage}; {traffic}; {verdicts or 'nothing to judge yet'}"
