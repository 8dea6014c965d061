"""Names and specifications of the quantizers of recurrent layers."""

import linger_jax
from linger_jax.plan.decide.recurrent_quantizers import recurrent_roles, recurrent_spec
from linger_jax.plan.settings import PlanSettings


def specs(kind, directions, **config):
    settings = PlanSettings(config=linger_jax.QuantConfig(**config))
    module = settings.config.for_path("rnn")
    return {r.quantizer: recurrent_spec(settings, module, r) for r in recurrent_roles(kind, directions=directions)}


def test_a_gru_of_one_direction_has_seven_quantizers():
    assert {name: spec.bits for name, spec in specs("gru", 1).items()} == {
        "input_quantizer": 8,
        "hidden_quantizer": 8,
        "output_quantizer": 8,
        "weightih_quantizer": 8,
        "weighthh_quantizer": 8,
        "biasih_quantizer": 32,
        "biashh_quantizer": 32,
    }


def test_directions_share_the_input_and_the_cell_quantizer_alone():
    one, both = specs("lstm", 1), specs("lstm", 2)
    added = {name.replace("_quantizer", "_reverse_quantizer") for name in set(one) - {"input_quantizer"}}
    assert set(both) - set(one) == added - {"cell_reverse_quantizer"}
    assert both["cell_quantizer"].bits == 32


def test_hidden_state_and_output_have_one_width_on_the_chip():
    part = {"part1": {"name": ["rnn"], "quant_info": {"output_bits": 16}}}
    chip = specs("lstm", 1, **_config(part))
    assert (chip["hidden_quantizer"].bits, chip["output_quantizer"].bits) == (16, 16)
    reference = specs("lstm", 1, **_config(part), compat="reference")
    assert (reference["hidden_quantizer"].bits, reference["output_quantizer"].bits) == (8, 16)


def _config(parts):
    return {"parts": linger_jax.load_config(parts).parts}
