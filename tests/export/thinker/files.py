"""Exporting a function of its inputs as a thinker file that is compared with evaluation."""

import onnx

import linger_jax
from tests.export.calls import assert_computes_as_evaluated, trained


def exported(tmp_path, function, *inputs, opset=12, strict=True, image=None, **config):
    """Exports a calibrated model; its file has been compared with evaluation on the whole batch.

    Args:
      tmp_path: where the file goes.
      function: of the inputs; calls Flax layers.
      *inputs: a batch each.
      opset, strict: of the export.
      image: the inputs and outputs are channels-first in the file; None: where it holds a convolution or pool.
      **config: of the quantization.
    """
    qmodel, variables = trained(function, *inputs, **config)
    one = tuple(x[:1] for x in inputs)
    path = linger_jax.export_onnx(qmodel, variables, one, tmp_path / "model.onnx", opset=opset, strict=strict)
    if image is None:
        image = any("Conv" in op or "Pool" in op for op in operators(path))
    assert_computes_as_evaluated(path, qmodel, variables, inputs, image=image)
    return path


def operators(path):
    """Operators of a file in order."""
    return [node.op_type for node in onnx.load(path).graph.node]


def attributes(path, op):
    """Attributes of the first node of an operator."""
    node = next(node for node in onnx.load(path).graph.node if node.op_type == op)
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
