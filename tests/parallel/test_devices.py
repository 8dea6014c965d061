"""A sample of ``python -m tests.parallel devices``; training of a residual net: ``test_reproducibility.py``."""

import jax
import pytest

from tests.parallel.devices import compare, over


@pytest.mark.slow
def test_a_recurrent_model_on_two_devices_computes_and_writes_what_one_does():
    assert compare("lstm", "TQT", over(jax.devices()[:2])) == []
