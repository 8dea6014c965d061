"""A sample of ``python -m tests.parallel processes``."""

import pytest

from tests.parallel.processes import compare


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the constant:linger_jax.LingerWarning")
def test_two_processes_with_half_a_batch_each_compute_and_write_what_one_does():
    assert compare("cnn", "MOM") == []
