"""A sample of ``python -m tests.parallel threads``; more of it is shown by ``tests/api/test_instances.py``."""

import pytest

from tests.parallel.threads import compare


@pytest.mark.slow
def test_threads_of_other_chips_write_and_run_what_they_do_alone_while_one_calibrates():
    assert compare(["in the context", "lstm of arcs"]) == []
