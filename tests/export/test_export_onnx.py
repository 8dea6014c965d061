"""Exported files: their nodes, and that they compute what evaluation computes, to the bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import linger_jax
from linger_jax.errors import ExportError
from tests.export.calls import assert_computes_as_evaluated, to_file, trained
from tests.models import Calls, initialised, normal, prepared


def exported(tmp_path, function, *inputs, dialect="linger", **options):
    """Exports a model for one sample; returns its operators after comparing the file with evaluation on a batch."""
    qmodel, variables = trained(function, *inputs, **options)
    one = tuple(x[:1] for x in inputs)
    path = linger_jax.export_onnx(qmodel, variables, one, tmp_path / "model.onnx", dialect=dialect)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    image = any("Conv" in op for op in operators)
    assert_computes_as_evaluated(path, qmodel, variables, inputs, image=image)
    return operators


def residual(x):
    x = nn.relu(nn.Conv(8, (3, 3))(x))
    x = nn.max_pool(x, (2, 2), (2, 2))
    y = nn.Conv(8, (3, 3), strides=2, padding=1)(x)
    with jax.numpy_dtype_promotion("standard"):  # Flax's own avg_pool divides a float by an integer
        z = nn.avg_pool(nn.Conv(8, (1, 1))(x), (2, 2), (2, 2))
    x = nn.BatchNorm(use_running_average=True)(nn.relu(y + z))
    x = jnp.concatenate([x, y], -1)
    return nn.Dense(5)(nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1))))


def test_a_residual_network_has_no_superfluous_node(tmp_path):
    operators = exported(tmp_path, residual, normal(4, 12, 12, 3))
    assert operators == [
        *("Quant", "QConv2d", "Relu", "MaxPool", "QConv2d", "QConv2d", "QAvgPool2d", "QAdd", "Relu", "QBatchNorm2d"),
        *("QCat", "Flatten", "QLinear", "Relu", "QLinear", "Dequant"),
    ]


@pytest.mark.parametrize(
    ("function", "shape", "operators"),
    [
        (lambda x: nn.Conv(6, (3,), kernel_dilation=2)(x), (3, 9, 4), ["QConv1d"]),
        (lambda x: nn.Conv(8, (3, 3), feature_group_count=4, padding="VALID")(x), (3, 6, 5, 4), ["QConv2d"]),
        (lambda x: nn.Conv(8, (4, 4), padding="SAME")(x), (3, 6, 5, 4), ["Pad", "QConv2d"]),
        (
            lambda x: nn.Conv(8, (3, 3), use_bias=False)(x).mean((1, 2)),
            (3, 6, 5, 4),
            ["QConv2d", "QAvgPool2d", "Flatten"],
        ),
        (lambda x: nn.ConvTranspose(5, (3, 3), strides=(2, 2))(x), (3, 4, 5, 4), ["QConvTranspose2d"]),
        (
            lambda x: linger_jax.nn.ConvTranspose(6, (3, 2), strides=2, padding=1, feature_group_count=2)(x),
            (3, 4, 5, 4),
            ["QConvTranspose2d"],
        ),
        (lambda x: nn.DenseGeneral((2, 3), axis=(-2, -1))(x), (3, 4, 5), ["Reshape", "QLinear", "Reshape"]),
        (lambda x: nn.relu6(nn.Dense(7)(x)), (5, 4), ["QLinear", "Clip"]),
        (lambda x: nn.Dense(7)(x) * nn.Dense(7)(x), (5, 4), ["QLinear", "QLinear", "QMul"]),
        (lambda x: nn.Dense(7)(x)[:, -1], (5, 6, 4), ["QLinear", "Gather"]),
        (lambda x: nn.Dense(7)(x)[:, ::-2], (5, 6, 4), ["QLinear", "Slice", "Slice"]),
        (lambda x: nn.Dense(7)(x)[:, :, None], (5, 6, 4), ["QLinear", "Unsqueeze"]),
        (lambda x: jnp.swapaxes(nn.Dense(7)(x), 1, 2), (5, 6, 4), ["QLinear", "Transpose"]),
        (
            lambda x: jnp.stack(jnp.split(nn.Dense(8)(x), 2, -1), axis=1),
            (5, 6, 4),
            ["QLinear", "Split", "Unsqueeze", "Unsqueeze", "QCat"],
        ),
        (lambda x: nn.BatchNorm(use_running_average=True)(nn.Dense(7)(x)), (5, 4), ["QLinear", "QBatchNorm1d"]),
        (lambda x: nn.Conv(4, (1, 1))(x).transpose(0, 3, 1, 2).reshape(x.shape[0], -1), (3, 4, 5, 3), None),
    ],
)
def test_layers_and_moves(tmp_path, function, shape, operators):
    got = exported(tmp_path, function, normal(*shape))
    if operators is not None:
        assert [op for op in got if op not in ("Quant", "Dequant")] == operators


@pytest.mark.parametrize("spelling", ["einsum", "matmul"])
def test_products_of_two_values(tmp_path, spelling):
    def function(x):
        a, b = nn.Dense(6)(x), nn.Dense(6)(x)
        return jnp.einsum("bqd,bkd->bqk", a, b) if spelling == "einsum" else a @ jnp.swapaxes(b, 1, 2)

    operators = exported(tmp_path, function, normal(2, 5, 4))
    assert operators.count("Transpose") == operators.count("QBmm") == 1


def test_a_dense_behind_a_flattened_image_has_its_rows_permuted(tmp_path):
    def function(x):
        x = nn.Conv(3, (3, 3))(x)
        return nn.Dense(4)(x.reshape(x.shape[0], -1))

    assert exported(tmp_path, function, normal(3, 4, 5, 2)) == ["Quant", "QConv2d", "Flatten", "QLinear", "Dequant"]


def test_several_inputs_and_outputs_have_the_models_names(tmp_path):
    class Two(nn.Module):
        @nn.compact
        def __call__(self, picture, sequence):
            a = nn.Conv(4, (3, 3))(picture)
            b = nn.Dense(4)(sequence)
            return {"image": a, "vector": b}

    picture, sequence = normal(1, 4, 4, 2), normal(1, 3, 5)
    qmodel = linger_jax.init(Two(), {"platform": "arcs"})
    variables = initialised(qmodel, picture, sequence)
    variables = linger_jax.calibrate(qmodel, variables, [(picture, sequence)], progress=False)
    path = linger_jax.export_onnx(
        qmodel, variables, (picture, sequence), tmp_path / "two.onnx", output_names=["image", "vector"]
    )
    runner = linger_jax.OnnxRunner(path)
    assert [(entry.name, entry.shape) for entry in runner.inputs] == [
        ("picture", (1, 2, 4, 4)),
        ("sequence", (1, 3, 5)),
    ]
    results = runner.run([to_file(picture, image=True), np.asarray(sequence)], out_type="dict")
    expected = qmodel.apply(variables, picture, sequence)
    assert set(results) == {"image", "vector"}
    for name, value in expected.items():
        np.testing.assert_array_equal(results[name], to_file(value, image=name == "image"))


def attention(x):
    x = nn.Dense(16)(x)
    query, key, value = (nn.Dense(16)(x).reshape(*x.shape[:2], 4, 4) for _ in range(3))
    weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) * 0.25)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
    return nn.Dense(3)(nn.sigmoid(x + nn.DenseGeneral(16, axis=(-2, -1))(mixed))[:, -1])


@pytest.mark.parametrize("platform", ["arcs", "venus", "venusA"])
@pytest.mark.filterwarnings("ignore:.*is clipped")
def test_attention(tmp_path, platform):
    operators = exported(tmp_path, attention, normal(32, 5, 6), platform=platform)
    assert [op for op in operators if op.startswith("Q") and op not in ("Quant", "QLinear")] == [
        *("QBmm", "QMul", "QSoftmax", "QBmm", "QAdd", "QSigmoid"),
    ]


def test_token_ids_enter_as_integers(tmp_path):
    ids = jax.random.randint(jax.random.key(1), (3, 5), 0, 11)
    operators = exported(tmp_path, lambda ids: nn.Dense(4)(nn.Embed(11, 6)(ids)), ids)
    assert operators == ["Gather", "QLinear", "Dequant"]


@pytest.mark.parametrize("bits", [{"activate_bits": 16, "weight_bits": 8}, {"activate_bits": 8, "weight_bits": 4}])
def test_other_widths(tmp_path, bits):
    exported(tmp_path, lambda x: nn.Dense(5)(nn.relu(nn.Dense(6)(x))), normal(4, 7), quant_info=bits)


def test_the_file_is_written_whole_or_not_at_all(tmp_path):
    qmodel, variables = trained(lambda x: jax.lax.cumsum(nn.Dense(3)(x), 1), normal(2, 4))
    with pytest.raises(ExportError, match=r"cumsum.*test_export_onnx\.py.*runs as float"):
        linger_jax.export_onnx(qmodel, variables, normal(1, 4), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_quantized_layer_without_a_form_in_a_file_is_named(tmp_path):
    x = np.ones((2, 4), np.float32)
    qmodel = linger_jax.init(linger_jax.nn.SparifyFFN(4, 16))
    variables = initialised(qmodel, x)
    with pytest.raises(ExportError, match=r"sparify_ffn.*hidden units count depends on the data"):
        linger_jax.export_onnx(qmodel, variables, x, tmp_path / "sparse.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 9}, "opset 9 is not supported; allowed: 11 to 18"),
        ({"dialect": "other"}, "dialect 'other'"),
        ({"input_names": ["a", "b"]}, "as many different names"),
        ({"output_names": ["a", "b"]}, r"1 output\(s\), 2 names"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    qmodel, variables = trained(lambda x: nn.Dense(3)(x), normal(2, 4))
    with pytest.raises(ExportError, match=message):
        linger_jax.export_onnx(qmodel, variables, normal(1, 4), tmp_path / "m.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_cast_behind_which_the_scale_is_lost_is_not_passed_over(tmp_path):
    model = Calls(lambda x: nn.Dense(2)(nn.Dense(3)(x).astype(jnp.bfloat16).astype(jnp.float32)))
    qmodel, variables = prepared(model, normal(2, 4))
    with pytest.raises(ExportError, match="a cast of float32 to bfloat16 has no form in a file"):
        linger_jax.export_onnx(qmodel, variables, normal(1, 4), tmp_path / "m.onnx", dialect="linger")


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.bool_])
def test_an_input_that_is_read_as_numbers_enters_a_file_as_real_numbers(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 200, (4, 6, 6, 2)).astype(np.uint8)
    x = x > 100 if dtype is np.bool_ else x.astype(dtype)

    def function(x):
        return nn.Dense(3)(nn.relu(nn.Conv(2, (3, 3))(x)).reshape(x.shape[0], -1))

    qmodel, variables = trained(function, x.astype(np.float32))
    files = []
    for example in (x[:1], x[:1].astype(np.float32)):
        path = linger_jax.export_onnx(qmodel, variables, example, tmp_path / f"{example.dtype}.onnx")
        files.append(path.read_bytes())
    assert files[0] == files[1]
    got = linger_jax.OnnxRunner(path).run(to_file(x, image=True))[0]
    np.testing.assert_array_equal(got, qmodel.apply(variables, x))
