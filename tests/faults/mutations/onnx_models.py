"""ONNX files that parse and say something impossible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.faults.mutations.mutation import ODD_NAMES, ODD_NUMBERS, ODD_REALS, Mutation, Random, pick


def _attribute(random: Random, model: onnx.ModelProto) -> None:
    node = pick(random, model.graph.node)
    if not node.attribute:
        node.attribute.append(helper.make_attribute("odd", 1))
    attribute = pick(random, node.attribute)
    name = attribute.name
    values = (
        int(pick(random, ODD_NUMBERS)), float(pick(random, ODD_REALS)), str(pick(random, ODD_NAMES)), "arcs",
        [int(pick(random, ODD_NUMBERS))] * int(random.integers(1, 5)), [1.5], ["a"], b"\xff\xfe", 0,
        numpy_helper.from_array(np.ones(2, np.float32)), int(pick(random, ODD_NUMBERS)),
    )  # fmt: skip
    chosen = pick(random, values)
    if random.random() < 0.15:
        node.attribute.remove(attribute)
    elif random.random() < 0.1:
        attribute.type = int(random.integers(16))
    else:
        attribute.CopyFrom(helper.make_attribute(name, chosen))


def _wide(random: Random, model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name.endswith("_bits"):
                attribute.CopyFrom(
                    helper.make_attribute(attribute.name, int(pick(random, (2**31 - 1, 0, -1, 33, 64, 10**6))))
                )


def _scale(random: Random, model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("scale_"):
                odd = pick(random, (0.0, -8.0, float("nan"), float("inf"), -0.0))
                attribute.CopyFrom(helper.make_attribute(attribute.name, odd))


def _constant(random: Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = pick(random, model.graph.initializer)
    kind = int(random.integers(8))
    array = numpy_helper.to_array(tensor)
    if kind == 0:
        del tensor.dims[:]
        tensor.dims.extend(pick(random, ([2**40], [-1], [], [0], [2**31, 2**31], [1] * 100)))
    elif kind == 1:
        tensor.data_type = int(random.integers(0, 30))
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[:-1]
    elif kind == 3:
        tensor.name = str(pick(random, ODD_NAMES))
    elif kind == 4:
        odd = pick(random, ODD_NUMBERS) if array.dtype.kind == "i" else pick(random, ODD_REALS)
        limits = np.iinfo(array.dtype) if array.dtype.kind == "i" else None
        value = np.clip(odd, limits.min, limits.max) if limits else odd
        tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, value), tensor.name))
    elif kind == 5:
        shape = pick(random, (array.T, array.ravel(), array[None], array.ravel()[:0], np.repeat(array.ravel(), 3)))
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(shape), tensor.name))
    elif kind == 6:
        tensor.CopyFrom(
            numpy_helper.from_array(array.astype(str(pick(random, ("f4", "i8", "f8", "?", "i4")))), tensor.name)
        )
    else:
        model.graph.initializer.append(tensor)


def _wiring(random: Random, model: onnx.ModelProto) -> None:
    node = pick(random, model.graph.node)
    known = [t for n in model.graph.node for t in n.output] + [t.name for t in model.graph.initializer]
    kind = int(random.integers(9))
    if kind == 0 and node.input:
        node.input[int(random.integers(len(node.input)))] = str(pick(random, (*known, "", "nowhere")))
    elif kind == 1 and node.output:
        node.output[0] = str(pick(random, (*known, "", *ODD_NAMES)))
    elif kind == 2:
        del node.input[:]
    elif kind == 3:
        node.op_type = str(
            pick(random, ("Loop", "If", "QConv2d", "QAdd", "Reshape", "Expand", "Tile", "Split", "QLSTM", "X" * 3000))
        )
    elif kind == 4:
        node.domain = str(pick(random, ("", "linger", "evil", "\u202e")))
    elif kind == 5:
        model.graph.node.append(node)
    elif kind == 6:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    elif kind == 7:
        node.input.extend(list(node.input) * 3)
    else:
        model.graph.node.remove(node)


def _boundary(random: Random, model: onnx.ModelProto) -> None:
    entry = pick(random, [*model.graph.input, *model.graph.output])
    kind = int(random.integers(6))
    dims = entry.type.tensor_type.shape.dim
    if kind < 2 and dims:
        pick(random, dims).dim_value = int(pick(random, ODD_NUMBERS))
    elif kind == 2 and dims:
        pick(random, dims).dim_param = "N"
    elif kind == 3:
        entry.type.tensor_type.elem_type = int(random.integers(0, 30))
    elif kind == 4:
        entry.name = str(pick(random, ODD_NAMES))
    else:
        entry.ClearField("type")


def _about(random: Random, model: onnx.ModelProto) -> None:
    kind = int(random.integers(5))
    if kind == 0:
        model.metadata_props.append(onnx.StringStringEntryProto(key="linger_jax.compat", value="odd"))
    elif kind == 1:
        model.metadata_props.append(onnx.StringStringEntryProto(key="linger_jax.dialect", value="\u202e"))
    elif kind == 2:
        del model.graph.node[:]
    elif kind == 3:
        del model.graph.output[:]
    else:
        model.ir_version = int(pick(random, (0, -1, 2**40)))


def _elsewhere(random: Random, model: onnx.ModelProto) -> None:
    """Numbers in another file, of a constant or of an attribute."""
    place = str(pick(random, ("/etc/passwd", "../../../../etc/passwd", "weights.bin", "/dev/zero")))
    tensor = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    if random.random() < 0.5:
        model.graph.initializer.append(tensor)
    else:
        model.graph.node[0].attribute.append(helper.make_attribute("value", tensor))


def _on_models(change, refused: bool = False) -> Mutation:
    def changed(random: Random, path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        change(random, model)
        path.write_bytes(model.SerializeToString())

    changed.__name__ = f"onnx{change.__name__}"
    return Mutation(changed, refused=refused)


ONNX = (
    *(
        _on_models(change)
        for change in (_attribute, _attribute, _attribute, _constant, _constant, _wiring, _boundary, _about)
    ),
    *(_on_models(change, refused=True) for change in (_wide, _scale, _elsewhere)),
)
