"""The spec of a RolloutPlan: its steps and its hash. `read_plan_spec` parses it.

Its fields are in spec_fields.py, and the rules between them in spec_rules.py.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Self

from pydantic import PrivateAttr, ValidationInfo, model_validator

from rolloutplan.api import safe_get
from rolloutplan.api.added import mirrored
from rolloutplan.api.limits import MAX_BEGUN, MAX_PLAN, TooLargeError, check_jobs, check_size
from rolloutplan.api.parsing import SpecError, Violations, is_lenient, read
from rolloutplan.api.predicate import MAX_PREDICATES, Predicate, as_normalized
from rolloutplan.api.spec_fields import PlanFields
from rolloutplan.api.spec_rules import refusals, rendered
from rolloutplan.api.stage import (
    DEADLINE_AFTER_SOAK,
    FULL,
    MAX_STAGES,
    Stage,
    StageSpec,
    last_step_name,
    made_name,
    step_name,
)
from rolloutplan.api.tasks import Assumption

__all__ = ["PlanSpec", "SpecError", "read_plan_spec"]

MAX_ALL_PREDICATES: Final = (MAX_STAGES + 1) * MAX_PREDICATES
"""Of all roles together: as many as 16 guards, and 16 predicates in each of 50 stages. Reading them takes 20 ms."""


class PlanSpec(PlanFields):
    """How traffic moves from the old side to the new one, and what decides each step."""

    _written: "PlanSpec | None" = PrivateAttr(default=None)

    @property
    def written(self) -> "PlanSpec":
        """The plan as a person wrote it, before references were replaced."""
        private = self.__pydantic_private__  # pydantic's own way takes ten times as long, and every look reads it often
        return (private and private.get("_written")) or self

    def replaced(self, predicates: Mapping[str, Predicate]) -> "PlanSpec":
        """The same plan with other predicates at these paths; `predicates` yields the paths."""

        def at(where: str, former: tuple[Predicate, ...]) -> tuple[Predicate, ...]:
            return tuple(predicates.get(f"{where}[{i}]", each) for i, each in enumerate(former))

        stages = tuple(
            stage.model_copy(
                update={
                    "pass_": at(f"stages[{i}].pass", stage.pass_),
                    "fail": at(f"stages[{i}].fail", stage.fail),
                    "warn": at(f"stages[{i}].warn", stage.warn),
                }
            )
            for i, stage in enumerate(self.stages)
        )
        changed = {**dict(self), "guards": at("guards", self.guards), "stages": stages}
        spec = PlanSpec.model_construct(**changed)  # model_copy would keep the cached hash
        spec._written = self.written  # noqa: SLF001 - its own class
        return spec

    @property
    def has_references(self) -> bool:
        """Whether any of its predicates is a reference."""
        return any(predicate.has_references for _, predicate in self.predicates())

    @property
    def holdback(self) -> int:
        """What stays on the old side as the control group of the bake, in permille; 0 where nothing does."""
        return self.bake.holdback or 0

    @property
    def bake_for(self) -> timedelta:
        """How long the bake lasts at least."""
        return self.bake.for_

    @property
    def bake_step(self) -> Stage:
        """The step at which the bake takes place, with the highest weight that is judged by the plan's stages."""
        return self._steps[-2] if self._steps[-1].completes else self._steps[-1]

    def steps(self) -> tuple[Stage, ...]:
        """The stages as steps of one weight each, with names such as `canary`, `ramp-w10`, `w5`, `w0-5`.

        A stage with a mirror or a match is one step at weight 0.

        With a holdback the last stage stands below 100%, and the step to 100%, which follows the bake, is the last.
        """
        return self._steps

    @cached_property
    def _steps(self) -> tuple[Stage, ...]:
        steps = [(entry, spec, permille) for entry, spec in enumerate(self.stages) for permille in spec.steps]
        made = [self._step(index, *step) for index, step in enumerate(steps)]
        if made[-1].held_back:
            return (*made, self._completion(made[-1]))
        return (*made[:-1], replace(made[-1], ends=True))

    def _step(self, index: int, entry: int, spec: StageSpec, permille: int) -> Stage:
        held_back, to = self.holdback if permille == FULL else 0, self.new.service_name
        return Stage(
            name=step_name(spec, permille - held_back),
            index=index,
            permille=permille - held_back,
            soak=spec.soak,
            deadline=spec.resolved_deadline,
            pass_=spec.pass_,
            fail=spec.fail,
            approval=spec.approval is not None and permille == spec.steps[0],
            entry=entry,
            warn=spec.warn,
            warmup=self.warmup if spec.warmup is None else spec.warmup,
            held_back=held_back,
            mirror=mirrored(spec.mirror, to) if spec.mirror else None,
            testers=tuple(each.match.addition(to) for each in self.stages[: entry + 1] if each.match is not None),
            sticky=self.traffic.sticky.addition if self.traffic.sticky and permille else None,
            match=spec.match.addition(to) if spec.match else None,
        )

    def _completion(self, last: Stage) -> Stage:
        """The step to 100% after the bake: judged by the guards alone, until the old side is drained at least."""
        return Stage(
            name=last_step_name(self.stages[last.entry]),
            index=last.index + 1,
            permille=FULL,
            soak=self.traffic.drain,
            deadline=self.traffic.drain + last.warmup + DEADLINE_AFTER_SOAK,
            pass_=(),
            fail=(),
            entry=last.entry,
            warmup=last.warmup,
            completes=True,
            ends=True,
        )

    def entries(self, stage: Stage) -> tuple[str, ...]:
        """The names of `stages` up to the entry of this stage; an entry without a name is named for its weight."""
        first = self.stages[: stage.entry + 1]
        return tuple(spec.name or made_name(spec.steps[0]) for spec in first)

    def assumptions_by_risk(self) -> tuple[Assumption, ...]:
        """The assumptions in the order in which they are checked."""
        return tuple(sorted(self.assumptions, key=lambda assumption: -assumption.risk))

    @property
    def has_jobs(self) -> bool:
        """Whether any of its tasks is a Job."""
        of_assumptions = any(assumption.job is not None for assumption in self.assumptions)
        return of_assumptions or bool(self.expand.jobs or self.contract.jobs)

    def plan_hash(self) -> str:
        """16 hex digits that change if and only if the meaning of the written spec changes.

        Defaults are left out before hashing, so that a finished plan does not start again because somebody writes one
        out or a later version adds a field. Templates are not part of it: their changes start no run and end none.
        """
        return self.written.judged_hash()

    def judged_hash(self) -> str:
        """The same hash for the plan with its references replaced: it also changes with the templates."""
        return self._hash

    def normalized(self) -> "PlanSpec":
        """The plan with one stage for each weight, and without values that equal a default.

        owner, runbook, deletionPolicy and recordsKept are left out, because they are not part of the rollout, stopAt,
        because it repeats the last weight, and warmup, because each stage has it.
        """
        stages = tuple(
            StageSpec.model_construct(
                name=stage.name,
                weight=None if stage.moves_no_weight else stage.permille + stage.held_back,
                mirror=self.stages[stage.entry].mirror,
                match=self.stages[stage.entry].match,
                soak=stage.soak,
                deadline=None if stage.deadline == stage.soak + DEADLINE_AFTER_SOAK else stage.deadline,
                approval="Required" if stage.approval else None,
                pass_=as_normalized(stage.pass_),
                fail=as_normalized(stage.fail),
                warn=as_normalized(stage.warn),
                warmup=stage.warmup or None,
            )
            for stage in self.steps()
            if not stage.completes
        )
        sides = {
            side: spec.model_copy(update={"service": None}) if spec.service == spec.deployment else spec
            for side, spec in (("old", self.old), ("new", self.new))
        }
        no_rollout = {"owner": None, "runbook": None, "deletion_policy": "Restore", "records_kept": None}
        said_elsewhere = {"stop_at": None, "warmup": timedelta(0)}
        changes = {"guards": as_normalized(self.guards), "stages": stages, **sides, **no_rollout, **said_elsewhere}
        return self.model_copy(update=changes)

    @cached_property
    def _hash(self) -> str:
        plain = self.normalized().model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _rules(self, info: ValidationInfo) -> Self:
        if refused := (*(() if is_lenient(info) else rendered(self)), *refusals(self)):
            raise Violations(*refused)
        return self


def read_begun_spec(raw: Mapping[str, Any], plan_hash: str) -> PlanSpec | None:
    """Parse the `spec` with which a run began, by its hash, without the limits and rules that came after that.

    None where it is another plan, or too damaged: then nothing can be judged by it.
    """
    try:
        check_size(raw, MAX_BEGUN)
        spec = read(PlanSpec, raw, lenient=True)
    except SpecError:
        return None
    return spec if spec.plan_hash() == plan_hash else None


def read_plan_spec(raw: Mapping[str, Any]) -> PlanSpec:
    """Parse the `spec` of a RolloutPlan. Raises SpecError: one line for each violation, with field and fix."""
    check_size(raw, MAX_PLAN)
    _check_number(raw)
    check_jobs(_jobs(raw))
    return read(PlanSpec, raw)


def _jobs(raw: Mapping[str, Any]) -> dict[str, object]:
    """The Jobs as written, by their paths below the spec."""
    assumptions = {
        f"assumptions[{i}].job": safe_get.value(each, "job")
        for i, each in enumerate(safe_get.items(raw, "assumptions"))
    }
    parts = {
        f"{part}.jobs[{i}]": each
        for part in ("expand", "contract")
        for i, each in enumerate(safe_get.items(raw, part, "jobs"))
    }
    return assumptions | parts


def _check_number(raw: Mapping[str, Any]) -> None:
    """Refuse too many predicates before any of them is read. Raises TooLargeError."""
    stages = [each for each in safe_get.items(raw, "stages") if isinstance(each, Mapping)]
    lists = [safe_get.items(raw, "guards"), *(stage.get(role) for stage in stages for role in ("pass", "fail", "warn"))]
    count = sum(len(each) for each in lists if isinstance(each, list | tuple))
    if count > MAX_ALL_PREDICATES:
        words = f"too many predicates in guards and all stages: write at most {MAX_ALL_PREDICATES}, not {count}"
        raise TooLargeError(f"spec.stages: {words}")
