"""What has no form in a file is refused by name, place and remedy; nothing fails inside."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import linger_jax
from linger_jax.errors import ExportError
from tests.export.coverage.agreement import Raw
from tests.models import Calls, initialised, normal


def refusal(folder, model, *inputs, **kwargs):
    """The message; the folder stays empty."""
    qmodel = linger_jax.init(model, {"platform": "arcs"})
    variables = initialised(qmodel, *inputs)
    with pytest.raises(ExportError) as caught:
        linger_jax.export_onnx(qmodel, variables, inputs, folder / "model.onnx", dialect="linger", **kwargs)
    assert list(folder.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda y: nn.GroupNorm(2)(y), r"GroupNorm_0 .*no kernel on the target chips"),
        (lambda y: jnp.where(y > 0.0, y, y[:1]), r"\(gt\).*runs as float"),
        (lambda y: y - y[:1], r"\(sub\).*has no quantized form"),
        (lambda y: nn.log_softmax(y), r"log_softmax has no quantized form"),
        (lambda y: lax.top_k(y, 2)[0], r"\(top_k\)"),
        (lambda y: jnp.sort(y), r"\(sort\)"),
        (lambda y: lax.cond(y.sum() > 0.0, lambda v: v, lambda v: v * 2.0, y), r"runs as float"),
        (lambda y: lax.pad(y, 0.0, ((0, 0, 0), (0, 0, 1))), "padding between elements"),
        (lambda y: jnp.pad(y, ((0, 0), (1, 0)), constant_values=0.3), "padding with 0.3.* not on the grid"),
        (lambda y: y.at[:, 0].set(0.0), "scatter"),
        (
            lambda y: nn.avg_pool(y.reshape(1, 2, 2, 2, 1), (2, 2, 2), count_include_pad=False),
            "works on 3 axes of an image",
        ),
        (lambda y: (y, jnp.ones(3)), "output y1 does not depend on the model's input; leave it out"),
        (lambda y: nn.Dropout(0.5, deterministic=False, rng_collection="params")(y), "this call draws random numbers"),
    ],
)
def test_a_step_without_a_form_is_named(tmp_path, function, said):
    x = normal(2, 6)
    model = Calls(lambda x: function(nn.Dense(4)(x)))
    message = refusal(tmp_path, model, x, rngs={"params": jax.random.key(1)})
    assert pytest.RaisesExc(ExportError, match=said).matches(ExportError(message)), message
    assert "test_refusals.py:" in message or "output y1" in message or "_0" in message


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x + jax.random.normal(self.make_rng("noise"), x.shape))


def test_random_numbers(tmp_path):
    x, rngs = normal(2, 6), {"params": jax.random.key(0), "noise": jax.random.key(1)}
    qmodel = linger_jax.init(Noisy(), {"platform": "arcs"})
    variables = qmodel.init(rngs, x)
    with pytest.raises(ExportError, match="this call draws random numbers; export the evaluation"):
        linger_jax.export_onnx(qmodel, variables, x, tmp_path / "model.onnx", dialect="linger", rngs=rngs)


def test_a_part_of_a_parameter_that_the_input_chooses(tmp_path):
    model = Raw(lambda x, w: x @ w[jnp.argmax(x[0])], ((4, 4, 3),))
    assert "runs as float and has no form in a file" in refusal(tmp_path, model, normal(2, 4))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seq_lengths": np.array([3])}, "variable lengths .seq_lengths."),
        ({"initial_carry": (np.ones((1, 4), np.float32),) * 2}, "an initial state .initial_carry."),
    ],
)
def test_recurrent_arguments_that_no_file_says(tmp_path, arguments, said):
    message = refusal(tmp_path, Calls(lambda x: nn.RNN(nn.LSTMCell(4))(x, **arguments)), normal(1, 5, 3))
    assert pytest.RaisesExc(ExportError, match=said).matches(ExportError(message)), message


def test_names_that_clash_are_refused(tmp_path):
    model = Calls(lambda x: nn.Dense(4)(x))
    assert "must differ" in refusal(tmp_path, model, normal(2, 6), input_names=["a"], output_names=["a"])
