"""Deciding, node by node, what is quantized, how, and under which name."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from linger_jax.plan.file_layout import FileLayout, file_layout
from linger_jax.plan.graph import Constant, Graph, Node, Quantizer, ValueId, ValueInfo
from linger_jax.plan.limits import check_window
from linger_jax.plan.pool_window import Window
from linger_jax.plan.primitives import STRUCTURAL
from linger_jax.plan.recognition import spatial_window
from linger_jax.plan.settings import PlanSettings
from linger_jax.plan.specs import layer_spec, operator_spec
from linger_jax.quantizers import QuantizerSpec
from linger_jax.staging.marker import Path

Bits = int | None
Scan = tuple[int, int]

# Layer kinds with a quantized rule: the roles of the quantizers each keeps in state (spec/layers.md, table).
LAYER_ROLES: Mapping[str, tuple[str, ...]] = {
    "dense": ("input", "weight", "output"),
    "conv": ("input", "weight", "bias", "output"),
    "conv_transpose": ("input", "weight", "bias", "output"),
    "batch_norm": ("input", "weight", "bias", "output"),
    "embed": ("weight", "bias"),
}
CONSTRAINED_LAYERS = frozenset({"dense", "conv", "conv_transpose", "batch_norm", "layer_norm", "embed"})

# Operators of two or more operands: primitive -> name of the operator layer (spec/ops.md section 7).
OPERATORS: Mapping[str, str] = {
    "add": "qadd",
    "mul": "qmul",
    "dot_general": "qmatmul",
    "concatenate": "qcat",
    "stack": "qcat",
}
PASSES = frozenset({"relu", "relu6"})
# Recognised functions whose integer kernel is not built yet: one line in the coverage table each.
FLOAT_FUNCTIONS = frozenset({"gelu", "softmax", "logistic", "tanh"})


@dataclasses.dataclass
class _State:
    """What planning accumulates; copied before a region that may have to be planned twice."""

    quantizers: dict[Path, Quantizer] = dataclasses.field(default_factory=dict)
    scans: dict[Path, tuple[Scan, ...]] = dataclasses.field(default_factory=dict)
    counters: Counter[tuple[int, str]] = dataclasses.field(default_factory=Counter)


class Planner:
    """Plans one staged call; used once."""

    def __init__(self, settings: PlanSettings) -> None:
        self.settings = settings
        self.state = _State()
        self.parameter_scans: tuple[Scan, ...] = ()

    # --- regions ---

    def graph(self, graph: Graph, input_bits: tuple[Bits, ...]) -> tuple[Graph, tuple[Bits, ...]]:
        """Plans a region; returns it decided, with the bits of its outputs."""
        bits: dict[ValueId, Bits] = dict(zip(graph.inputs, input_bits, strict=True))
        nodes = []
        for raw in graph.nodes:
            node = self._node(raw, graph.infos, bits)
            bits.update(zip(node.outputs, node.bits or (None,) * len(node.outputs), strict=True))
            nodes.append(node)
        outputs = tuple(None if isinstance(a, Constant) else bits.get(a) for a in graph.outputs)
        return dataclasses.replace(graph, nodes=tuple(nodes)), outputs

    def _node(self, node: Node, infos: Mapping[ValueId, ValueInfo], bits: Mapping[ValueId, Bits]) -> Node:
        operand_bits = tuple(None if isinstance(a, Constant) else bits.get(a) for a in node.inputs)
        if node.op == "remat":
            assert node.body is not None
            body, outputs = self.graph(node.body, operand_bits)
            return dataclasses.replace(node, body=body, bits=outputs)
        if node.op == "scan":
            return self._scan(node, operand_bits)
        if node.op == "lost":
            return node
        if node.layer is not None:
            return self._layer(node, infos, operand_bits)
        if self.settings.purpose == "constrain":
            return _as_float(node, "")
        return self._operator(node, infos, operand_bits)

    def _scan(self, node: Node, operand_bits: tuple[Bits, ...]) -> Node:
        assert node.body is not None
        fixed, carried = node.attributes["num_consts"], node.attributes["num_carry"]
        scan: Scan = node.attributes["scan"]
        infos = [node.body.infos[v] for v in node.body.inputs]
        iterates = any(scan in info.stack and (info.parameter or ("",))[0] == "params" for info in infos)
        around, before = self.parameter_scans, copy.deepcopy(self.state)
        self.parameter_scans = (*around, scan) if iterates else around
        carry = list(operand_bits[fixed : fixed + carried])
        dropped = 0
        while True:
            inputs = (*operand_bits[:fixed], *carry, *(None for _ in operand_bits[fixed + carried :]))
            body, outputs = self.graph(node.body, inputs)
            unstable = [i for i in range(carried) if carry[i] is not None and carry[i] != outputs[i]]
            if not unstable:
                break
            for i in unstable:
                carry[i] = None
            dropped += len(unstable)
            self.state = copy.deepcopy(before)
        self.parameter_scans = around
        lost = dropped + sum(o is not None and c is None for c, o in zip(carry, outputs[:carried], strict=True))
        lost += sum(o is not None for o in outputs[carried:])
        reason = f"{lost} value(s) leave an iteration as float: no single scale describes them" if lost else ""
        keys = [q for q in self.state.quantizers if q not in before.quantizers or _used(body, q)]
        stacked = tuple(k for k in keys if scan in self.state.scans[k])
        attributes = {
            **node.attributes,
            "carry_bits": tuple(carry),
            "stacked": stacked,
            "carried": tuple(k for k in keys if k not in stacked),
        }
        bits = (*carry, *(None for _ in outputs[carried:]))
        return dataclasses.replace(node, body=body, bits=bits, reason=reason, attributes=attributes)

    # --- layers ---

    def _layer(self, node: Node, infos: Mapping[ValueId, ValueInfo], operand_bits: tuple[Bits, ...]) -> Node:
        info = node.layer
        assert info is not None
        config = self.settings.config.for_path(".".join(info.path))
        node = dataclasses.replace(node, site=info.path, config=config)
        if info.kind == "dropout":
            return dataclasses.replace(
                node, bits=(operand_bits[0],), quantized=operand_bits[0] is not None, reason="passes through"
            )
        constrain = self.settings.purpose == "constrain"
        known = CONSTRAINED_LAYERS if constrain else LAYER_ROLES
        reason = self.settings.disabled(info.path, (info.module_type, *node.owner.module_types))
        if reason is None and node.owner.composite is not None:
            reason = f"inside a {node.owner.composite}: not covered"
        if reason is None and info.kind not in known:
            reason = f"{info.type_name} has no {'constrained' if constrain else 'quantized'} form yet"
        reason = reason or info.refusal or self._not_float32(node, infos)
        if reason is not None:
            return _as_float(node, reason)
        if constrain:
            return dataclasses.replace(node, quantized=True, bits=(None,) * len(node.outputs))
        self._check_limits(node)
        stack = self._layer_stack(node, infos)
        roles = list(LAYER_ROLES[info.kind])
        names = [role[-1] for role in info.operands if role[0] == "params"]
        if info.kind == "dense" and "bias" in names:
            roles.append("bias")
        reads = {
            "input": operand_bits[0] is None,
            "weight": True,
            "bias": info.kind == "batch_norm" or "bias" in names,
            "output": True,
        }
        for role in roles:
            spec = layer_spec(self.settings, config, role)
            parameter = self._parameter(node, infos, role)
            layout = self._file_layout(node) if role == "weight" else None
            self._add((*info.path, f"{role}_quantizer"), spec, stack, reads[role], parameter, layout)
        output_bits = config.quant_info.weight_bits if info.kind == "embed" else config.output_bits
        outputs = tuple(output_bits if role[0] == "output" else None for role in info.results)
        return dataclasses.replace(node, quantized=True, bits=outputs)

    def _parameter(self, node: Node, infos: Mapping[ValueId, ValueInfo], role: str) -> Path | None:
        assert node.layer is not None
        if node.layer.kind == "batch_norm":
            return None  # its quantizers act on the folded scale and shift, which are no parameters
        names = {"weight": ("kernel", "embedding"), "bias": ("bias",)}.get(role, ())
        for atom, operand in zip(node.inputs, node.layer.operands, strict=True):
            if operand[0] == "params" and operand[-1] in names and not isinstance(atom, Constant):
                return infos[atom].parameter if infos[atom].direct else None
        return None

    def _file_layout(self, node: Node) -> FileLayout | None:
        assert node.layer is not None
        assert node.jaxpr is not None
        if not self.settings.choices.sums_in_file_order:
            return None
        for operand, aval in zip(node.layer.operands, node.jaxpr.in_avals, strict=True):
            if operand == ("params", "kernel"):
                return file_layout(node.layer.kind, len(aval.shape))
        return None

    def _layer_stack(self, node: Node, infos: Mapping[ValueId, ValueInfo]) -> tuple[Scan, ...]:
        assert node.layer is not None
        for atom, role in zip(node.inputs, node.layer.operands, strict=True):
            if role[0] == "params" and not isinstance(atom, Constant):
                return tuple(scan for scan in infos[atom].stack if scan in self.parameter_scans)
        return self.parameter_scans

    @staticmethod
    def _not_float32(node: Node, infos: Mapping[ValueId, ValueInfo]) -> str | None:
        assert node.layer is not None
        for atom, role in zip(node.inputs, node.layer.operands, strict=True):
            dtype = atom.dtype if isinstance(atom, Constant) else infos[atom].dtype
            wanted = role[0] == "params" or (role[0] == "input" and node.layer.kind != "embed")
            if wanted and dtype != np.float32:
                return f"{'.'.join(role)} is {dtype}: quantization is exact in float32 only"
        return None

    def _check_limits(self, node: Node) -> None:
        if node.op not in ("conv", "conv_transpose") or node.jaxpr is None:
            return
        for eqn in node.jaxpr.jaxpr.eqns:
            if eqn.primitive.name == "conv_general_dilated":
                spec = eqn.params["dimension_numbers"]
                kernel = [int(eqn.invars[1].aval.shape[a]) for a in spec.rhs_spec[2:]]
                transposed = node.op == "conv_transpose"
                strides = eqn.params["lhs_dilation" if transposed else "window_strides"]
                padding = [] if transposed else [int(p) for pair in eqn.params["padding"] for p in pair]
                platform = self.settings.config.platform
                check_window(node.label, platform, kernel=kernel, stride=map(int, strides), padding=padding)

    # --- operators ---

    def _operator(self, node: Node, infos: Mapping[ValueId, ValueInfo], operand_bits: tuple[Bits, ...]) -> Node:
        carried = [b for b in operand_bits if b is not None]
        if node.op in STRUCTURAL and operand_bits and operand_bits[0] is not None:
            return self._structural(node, infos, operand_bits[0])
        if node.op in PASSES and carried:
            return dataclasses.replace(node, bits=(carried[0],), quantized=True, reason="passes through")
        if node.op == "reduce_window_max" and carried:
            return self._max_pool(node, infos, carried[0])
        owner_path = node.owner.path
        disabled = self.settings.disabled(owner_path, node.owner.module_types)
        if disabled is None and node.owner.composite is not None:
            disabled = f"inside a {node.owner.composite}: not covered"
        if node.op == "avg_pool" and (carried or not node.attributes["whole_plane"]):
            return _as_float(node, disabled) if disabled else self._average_pool(node, infos, operand_bits)
        name = OPERATORS.get(node.op)
        if name is not None and carried:
            parameter = self._parameter_operand(node, infos)
            if disabled is not None and (node.owner.composite or self.settings.choices.disabled_owners_are_float):
                return _as_float(node, disabled)
            if parameter is not None:
                return _as_float(node, f"product of parameter {'.'.join(parameter)}: custom layers are not built yet")
            if infos[node.outputs[0]].dtype != np.float32:
                return _as_float(node, f"{infos[node.outputs[0]].dtype} result: quantization is exact in float32 only")
            return self._quantized_operator(node, name, operand_bits)
        if carried or (name == "qmatmul" and self._parameter_operand(node, infos) is not None):
            return _as_float(node, self._float_reason(node, infos))
        return _as_float(node, "")

    def _float_reason(self, node: Node, infos: Mapping[ValueId, ValueInfo]) -> str:
        parameter = self._parameter_operand(node, infos) if node.op == "dot_general" else None
        if parameter is not None:
            return f"product of parameter {'.'.join(parameter)}: custom layers are not built yet"
        name = node.attributes.get("name", node.op)
        if node.op in FLOAT_FUNCTIONS:
            return f"{node.op} has no integer kernel yet"
        return f"{name} has no quantized form; its operand leaves the integer grid here"

    @staticmethod
    def _parameter_operand(node: Node, infos: Mapping[ValueId, ValueInfo]) -> Path | None:
        if node.op != "dot_general":
            return None
        for atom in node.inputs:
            if not isinstance(atom, Constant):
                parameter = infos[atom].parameter
                if parameter is not None and parameter[0] == "params":
                    return parameter
        return None

    def _structural(self, node: Node, infos: Mapping[ValueId, ValueInfo], bits: int) -> Node:
        if any(infos[v].dtype != np.float32 for v in node.outputs):
            return _as_float(node, f"cast to {infos[node.outputs[0]].dtype}: the scale is dropped")
        if node.op == "pad":
            value = node.inputs[1]
            if not (isinstance(value, Constant) and float(np.asarray(value.value)).is_integer()):
                return _as_float(node, "pad with a value that is not a whole number: not on every grid")
        op = "structural"
        return dataclasses.replace(node, op=op, bits=(bits,) * len(node.outputs), quantized=True)

    def _max_pool(self, node: Node, infos: Mapping[ValueId, ValueInfo], bits: int) -> Node:
        assert not isinstance(node.inputs[0], Constant)
        window = spatial_window(node.attributes, infos[node.inputs[0]].shape)
        if window is not None:
            self._check_window(node, "max_pool", window, exempt=())
        return dataclasses.replace(node, op="max_pool", bits=(bits,), quantized=True, reason="passes through")

    def _average_pool(self, node: Node, infos: Mapping[ValueId, ValueInfo], operand_bits: tuple[Bits, ...]) -> Node:
        assert not isinstance(node.inputs[0], Constant)
        plane = infos[node.inputs[0]].shape[1:-1]
        self._check_window(node, "avg_pool", node.attributes["window"], exempt=plane)
        module = self.settings.config.for_path(".".join(node.owner.path))
        site = self._name(node, "avg_pool", "_linger_avg_pool")
        stack = self.parameter_scans
        self._add(
            (*site, "input_quantizer"), layer_spec(self.settings, module, "input"), stack, operand_bits[0] is None
        )
        self._add(
            (*site, "output_quantizer"),
            layer_spec(self.settings, module, "output"),
            stack,
            not self.settings.choices.pool_keeps_scale,
        )
        return dataclasses.replace(node, site=site, config=module, quantized=True, bits=(module.output_bits,))

    def _check_window(self, node: Node, what: str, window: Window, exempt: tuple[int, ...]) -> None:
        axes = [i for i in range(len(window.kernel)) if not exempt or window.kernel[i] != exempt[i]]
        strides = [
            window.strides[i] for i in range(len(window.strides)) if not exempt or window.strides[i] != exempt[i]
        ]
        where = ".".join((*node.owner.path, what)) + (f" at {node.source}" if node.source else "")
        check_window(
            where,
            self.settings.config.platform,
            kernel=[window.kernel[i] for i in axes],
            stride=[window.strides[i] for i in axes] if exempt else strides,
            padding=[p for pair in window.padding for p in pair],
        )

    def _quantized_operator(self, node: Node, name: str, operand_bits: tuple[Bits, ...]) -> Node:
        module = self.settings.config.for_path(".".join(node.owner.path))
        spec = operator_spec(self.settings, module)
        site = self._name(node, "operators", f"_linger_qtensor_{name}")
        for i, bits in enumerate(operand_bits):
            self._add((*site, "input_quantizer", str(i)), spec, self.parameter_scans, bits is None)
        self._add((*site, "output_quantizer"), spec, self.parameter_scans, True)
        return dataclasses.replace(node, site=site, config=module, quantized=True, bits=(spec.bits,))

    def _name(self, node: Node, counter: str, stem: str) -> Path:
        """Next name of an operator of this owner activation (spec/ops.md section 7)."""
        key = (node.owner.serial, counter)
        index = self.state.counters[key]
        self.state.counters[key] += 1
        return (*self._owner_path(node), f"{stem}_{index}")

    def _owner_path(self, node: Node) -> Path:
        return node.owner.path

    def _add(
        self,
        path: Path,
        spec: QuantizerSpec,
        stack: tuple[Scan, ...],
        active: bool,
        parameter: Path | None = None,
        layout: FileLayout | None = None,
    ) -> None:
        known = self.state.quantizers.get(path)
        self.state.scans[path] = stack
        self.state.quantizers[path] = Quantizer(
            path=path,
            spec=spec,
            stack=tuple(length for _, length in stack),
            active=active or (known is not None and known.active),
            parameter=parameter,
            visits=(known.visits if known else 0) + int(active),
            file_layout=layout,
        )


def _as_float(node: Node, reason: str) -> Node:
    return dataclasses.replace(node, quantized=False, reason=reason, bits=(None,) * len(node.outputs))


def quantizer_paths(node: Node, quantizers: Mapping[Path, Quantizer]) -> list[Path]:
    """Paths of the quantizers below a node's site."""
    if node.site is None or not node.quantized:
        return []
    return [path for path in quantizers if path[: len(node.site)] == node.site]


def _used(body: Graph, path: Path) -> bool:
    """Whether a node of the body keeps its state under ``path``."""
    return any(n.site is not None and path[: len(n.site)] == n.site and n.quantized for n in body.walk())
