"""What a chip will make of a plan, before a step is trained and before there is a file."""

from linger_jax.export.verdict.device_verdict import device_verdict as device_verdict
