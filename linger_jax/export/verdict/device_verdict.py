"""What a chip will make of a plan: its ``thinker`` file as far as shapes and scales go, and the lint of it.

Source: docs/decisions.md D33.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from linger_jax.export.dialects import THINKER, Destination
from linger_jax.export.lint import (
    CHECKS_OF_SCALES,
    DeviceReport,
    Finding,
    PackOptions,
    check_program,
    memory_use,
    program,
)
from linger_jax.export.lower import Draft, Record, draft_graph, model_arguments
from linger_jax.export.onnx import GraphNode, OnnxGraph, as_file
from linger_jax.export.verdict.step_forms import StepForms, constants_of, nodes_of_steps, stays
from linger_jax.kinds import BATCH_NORM
from linger_jax.plan import UNKNOWN, Cost, DeviceVerdict, Judgement, MemoryEstimate, Plan, Row, unjudged
from linger_jax.targets import target_of

_OPSET = 12
_AS_FLOAT = "runs as float"
_TRAINS = "not judged: this call trains, and a file is an evaluation; plan that (deterministic=True, train=False, ...)"


def not_to_be_judged(plan: Plan) -> DeviceVerdict | None:
    """The verdict on a plan that no file can be made of; None where one can."""
    platform = plan.settings.config.platform
    if target_of(platform).device is None:
        return unjudged(platform.value, plan.rows(), "not judged: the packer does not know this platform")
    return unjudged(platform.value, plan.rows(), _TRAINS) if _trains(plan) else None


def device_verdict(record: Record, remark: str = "") -> DeviceVerdict:
    """The verdict of the chip of a plan's configuration on a call of one sample, at the scales of its record.

    Args:
      record: of the call, real or abstract.
      remark: what the judgement rests on.
    """
    plan = record.plan
    platform, rows = plan.settings.config.platform, plan.rows()
    draft = draft_graph(dataclasses.replace(record, bias_as_evaluated=True))
    if not draft.graph.nodes:
        left_out = tuple(_left_out(draft, row) or UNKNOWN for row in rows)
        why = "nothing of it has a form in a file"
        return dataclasses.replace(unjudged(platform.value, rows, f"not judged: {why}"), rows=left_out)
    forms = StepForms(draft.graph)
    THINKER.rewrite(draft.graph, Destination(platform, _OPSET), forms.after)
    whole = program(as_file(draft.graph, plan.settings.config.compat, THINKER.files), platform)
    report = check_program(whole)
    use, unmoved = memory_use(whole, report.options), memory_use(whole, PackOptions())
    judge = _Judge(draft, forms, report)
    return DeviceVerdict(
        platform=platform.value,
        rows=tuple(map(judge.row, rows)),
        elsewhere=tuple(judge.elsewhere(plan, {step for row in rows for step in row.steps})),
        memory=MemoryEstimate(
            share_memory=use.share_memory,
            weights=unmoved.psram,
            moved=use.psram - unmoved.psram,
            share_memory_limit=whole.device.share_memory,
            psram_limit=whole.device.psram,
        ),
        remark=remark,
    )


def _trains(plan: Plan) -> bool:
    """Whether a call takes the statistics of its batch, or draws random numbers."""
    layers = (node for node in plan.graph.walk() if node.layer is not None and node.kind == BATCH_NORM)
    if any(node.layer_info.attributes["training"] for node in layers):
        return True
    known = len(plan.staged.variables) + len(model_arguments(plan.staged.arguments))
    keys = set(plan.graph.inputs[known:])
    return any(keys.intersection(atom for atom in node.inputs if isinstance(atom, int)) for node in plan.graph.nodes)


def _left_out(draft: Draft, row: Row) -> Judgement | None:
    """The refusal of a row that has no form in a file; None for others."""
    runs_as_float = row.status in ("float", "disabled")
    cut = [draft.refused[step] for step in row.steps if step in draft.refused]
    if cut or (runs_as_float and not row.steps):
        return Judgement(word="refused", why=_AS_FLOAT if runs_as_float else cut[0])
    return None


class _Judge:
    def __init__(self, draft: Draft, forms: StepForms, report: DeviceReport) -> None:
        self._draft, self._forms = draft, forms
        self._nodes: Mapping[int, list[GraphNode]] = nodes_of_steps(draft.graph)
        step_of = {node.name: node.step for node in draft.graph.nodes}
        self._findings: dict[int | None, list[Finding]] = {}
        for finding in report.blocking:
            self._findings.setdefault(step_of.get(finding.node), []).append(finding)

    def row(self, row: Row) -> Judgement:
        """What becomes of a row."""
        left_out = _left_out(self._draft, row)
        if left_out is not None:
            return left_out
        if not self._draft.steps.intersection(row.steps):
            return UNKNOWN
        found = [finding for step in row.steps for finding in self._findings.get(step, ())]
        nodes = [node for step in row.steps for node in self._nodes.get(step, ())]
        names = tuple(dict.fromkeys(name for step in row.steps for name in self._forms.names.get(step, ())))
        return Judgement(
            word="refused" if found else "as" if names else "packs",
            forms=names,
            cost=functools.reduce(operator.add, (self._forms.cost(step) for step in row.steps), Cost()),
            why=_told(found) if found else "",
            by_scales=bool(found) and all(finding.check in CHECKS_OF_SCALES for finding in found),
            weights=sum(constants_of(self._draft.graph, nodes).values()),
            activations=max((_bytes(self._draft.graph, node) for node in nodes if stays(node)), default=0),
        )

    def elsewhere(self, plan: Plan, known: set[int]) -> Iterator[Judgement]:
        """What is refused of steps beside those that are known, and of the file as a whole."""
        labels = {node.outputs[0]: f"{node.label} ({node.primitive})" for node in plan.graph.walk() if node.outputs}
        for step, why in self._draft.refused.items():
            if step not in known:
                yield Judgement(word="refused", why=f"{labels[step]}: {why}")
        for why in self._draft.outputs:
            yield Judgement(word="refused", why=why)
        for place, findings in self._findings.items():
            for finding in findings if place not in known else ():
                why = f"{finding.place}: {finding.told}" if finding.node else finding.told
                yield Judgement(word="refused", why=why, by_scales=finding.check in CHECKS_OF_SCALES)


def _told(findings: Sequence[Finding]) -> str:
    """The first, and how many there are besides: a finding that scales cannot change before others."""
    first, *others = sorted(findings, key=lambda finding: finding.check in CHECKS_OF_SCALES)
    more = len({other.told for other in others} - {first.told})
    return first.told + (f" (and {more} more)" if more else "")


def _bytes(graph: OnnxGraph, node: GraphNode) -> int:
    return sum(
        math.prod(graph.shapes[tensor]) * np.dtype(graph.element_types[tensor]).itemsize for tensor in node.outputs
    )
