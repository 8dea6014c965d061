"""What a chip will make of a plan, before a step is trained and before there is a file."""

from linger_jax.export.verdict.abstract_record import TracedEvaluation as TracedEvaluation
from linger_jax.export.verdict.abstract_record import abstract_record as abstract_record
from linger_jax.export.verdict.abstract_record import trace_evaluation as trace_evaluation
from linger_jax.export.verdict.device_verdict import device_verdict as device_verdict
from linger_jax.export.verdict.device_verdict import not_to_be_judged as not_to_be_judged
