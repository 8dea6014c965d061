"""Packages: what is read of them, and which would have the executor write outside of its plan of memory."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import linger_jax
from linger_jax.errors import LingerWarning, PackError
from linger_jax.export.lint import program
from linger_jax.export.onnx import read_model
from linger_jax.export.packing.package import read_package
from linger_jax.export.packing.package_faults import package_faults
from linger_jax.export.packing.packer import packer_run
from linger_jax.targets import Platform
from tests.export.packing.packages import Given, package


def softmax_file(path, platform="venusA", length=24, reserving=()):
    """A file of one softmax of 12 rows, and the constant whose gated linear unit reserves memory."""
    common = {"domain": "linger", "platform": platform, "quant_mode": "floor_add", "x_bits": 8, "o_bits": 8}
    nodes = [
        helper.make_node(
            "Quant", ["x"], ["0"], "Quant_0", domain="linger", platform=platform, scale_x=16.0, data_bits=8
        ),
        helper.make_node("Reshape", ["0", "shape"], ["1"], "Reshape_1"),
        helper.make_node(
            "QSoftmax", ["1"], ["y"], "QSoftmax_y", axis=-1, scale_x=16.0, scale_o=128.0, doc_string="head", **common
        ),
    ]
    constants = [numpy_helper.from_array(np.asarray([1, 12, length], np.int64), "shape")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 12, length])]
    if reserving:
        constants.append(numpy_helper.from_array(np.zeros(reserving, np.int8), "zeros"))
        nodes.append(
            helper.make_node("GluInt", ["zeros"], ["r"], "GluInt_r", dim=1, scale_x=1.0, scale_o=1.0, **common)
        )
        outputs.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [reserving[0], reserving[1] // 2]))
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 12, length])]
    graph = helper.make_graph(nodes, "main_graph", given, outputs, constants)
    opsets = [helper.make_opsetid("", 12), helper.make_opsetid("linger", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=7)
    if reserving:
        helper.set_model_props(model, {"linger_jax.reserving": "1"})
    onnx.save(model, path)
    return path


def recurrent(platform):
    """The program of a file of one LSTM of 8 hidden values."""
    scales = {"scale_x": 16.0, "scale_iw": 64.0, "scale_hw": 64.0, "scale_h": 64.0, "scale_o": 64.0, "scale_c": 32768.0}
    node = helper.make_node(
        "QLSTM", ["x", "wi", "wh"], ["y", "h", "c"], "QLSTM_y", domain="linger", platform=platform.value,
        hidden_size=8, doc_string="encoder", **scales,
    )  # fmt: skip
    values = [numpy_helper.from_array(np.zeros((32, n), np.int8), name) for name, n in (("wi", 4), ("wh", 8))]
    given, made = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 4]), ("y", [1, 3, 8]))
    )
    graph = helper.make_graph([node], "main_graph", [given], [made], values)
    return program(read_model(helper.make_model(graph), "model"), platform)


@pytest.mark.packer
def test_the_tables_of_a_package_are_read(tpacker, tmp_path):
    with packer_run(tpacker, softmax_file(tmp_path / "model.onnx"), "venusa") as run:
        found = read_package(run.package.read_bytes())
    named = {tensor.name: tensor for tensor in found.tensors}
    assert [step.kind for step in found.steps] == ["Reshape", "SoftmaxInt"]
    assert [found.tensors[i].name for i in (*found.inputs, *found.outputs)] == ["x", "y"]
    assert (named["y"].size, named["y"].planned, named["shape"].planned) == (288, True, False)
    assert found.workspace < 22 * 288
    assert found.block(in_share_memory=True) == max(t.end for t in found.tensors if t.planned)


@pytest.mark.packer
def test_names_of_any_length_are_read(tpacker, tmp_path):
    model = onnx.load(softmax_file(tmp_path / "model.onnx"))
    long = "encoder." * 9 + "y"
    model.graph.node[-1].output[0] = model.graph.output[0].name = long
    onnx.save(model, tmp_path / "model.onnx")
    with packer_run(tpacker, tmp_path / "model.onnx", "venusa") as run:
        found = read_package(run.package.read_bytes())
    assert [found.tensors[i].size for i in found.outputs] == [288]
    assert found.workspace > 0


@pytest.mark.packer
def test_too_little_scratch_memory_is_refused_and_reserving_it_helps(tpacker, tmp_path):
    out, options = tmp_path / "model.pkg", []
    bare = softmax_file(tmp_path / "bare.onnx")
    with pytest.raises(PackError, match="QSoftmax of head writes 6336 bytes of scratch memory") as refused:
        linger_jax.pack(bare, out, options=options, packer=tpacker)
    assert "dialect" in str(refused.value)
    assert not out.exists()
    with pytest.warns(LingerWarning, match="6336 bytes"):
        linger_jax.pack(bare, out, options=options, packer=tpacker, strict=False)
    linger_jax.pack(softmax_file(tmp_path / "full.onnx", reserving=(1, 906)), out, options=options, packer=tpacker)


@pytest.mark.parametrize("cut", [0, 7, 40, 90, 300])
def test_a_package_that_is_cut_is_an_error(cut):
    whole = package([Given("x", 0, 8), Given("y", 16, 8)], [("Relu", [0], [1])], [0], [1])
    assert len(read_package(whole).steps) == 1
    with pytest.raises(PackError, match="package"):
        read_package(whole[:cut])


def test_a_package_that_names_no_tensor_is_an_error():
    with pytest.raises(PackError, match="names tensor 7 of 1"):
        read_package(package([Given("x", 0, 8)], [("Relu", [0], [7])], [0], [0]))


LSTM = ("LSTMInt", [0, 1, 2], [3, 4, 5])


def lstm_package(state, memory=2, more=()):
    tensors = [
        Given("x", 0, 12), Given("wi", 0, 128, planned=False), Given("wh", 0, 256, planned=False),
        Given("y", 16, 24), Given("h", state, 8, memory), Given("c", 48, 32), *more,
    ]  # fmt: skip
    steps = [LSTM, *(("Relu", [3], [6 + i]) for i in range(len(more)))]
    return read_package(package(tensors, steps, [0], [3, *range(6, 6 + len(more))]))


def test_a_final_state_at_the_end_of_the_plan_is_a_fault_where_the_executor_writes_behind_it():
    (told,) = package_faults(lstm_package(80), recurrent(Platform.venusA))
    assert told.startswith("the LSTM of encoder writes 24 bytes behind its final state h, the last tensor of the plan")
    assert package_faults(lstm_package(80), recurrent(Platform.arcs)) == []


def test_a_final_state_in_front_of_a_living_tensor_is_a_fault():
    (told,) = package_faults(lstm_package(40), recurrent(Platform.venusA))
    assert "where c lies" in told


def test_a_final_state_with_room_behind_it_is_none():
    later = Given("r", 80, 32)
    assert package_faults(lstm_package(80, more=[later]), recurrent(Platform.venusA)) == []


def test_two_living_tensors_in_one_place_are_a_fault():
    found = lstm_package(0, memory=1, more=[Given("r", 0, 64, 1), Given("z", 20, 8)])
    assert any("y and z lie in the same memory" in told for told in package_faults(found, recurrent(Platform.arcs)))


def test_a_view_lies_where_its_operand_does():
    tensors = [Given("x", 0, 8), Given("v", 0, 8), Given("y", 16, 8)]
    steps = [("Reshape", [0], [1]), ("iqAdd", [0, 1], [2])]
    found = read_package(package(tensors, steps, [0], [2]))
    assert package_faults(found, recurrent(Platform.arcs)) == []
