"""From steps of the plan to nodes of a file, one file an idea."""

from linger_jax.export.lower.draft_graph import Draft as Draft
from linger_jax.export.lower.draft_graph import draft_graph as draft_graph
from linger_jax.export.lower.evaluation_record import Record as Record
from linger_jax.export.lower.evaluation_record import RecordedArrays as RecordedArrays
from linger_jax.export.lower.evaluation_record import as_record as as_record
from linger_jax.export.lower.evaluation_record import recorder as recorder
from linger_jax.export.lower.exported_values import Grid as Grid
from linger_jax.export.lower.lower_graph import export_graph as export_graph
from linger_jax.export.lower.lower_graph import model_arguments as model_arguments
from linger_jax.export.lower.lowering_step import lowers as lowers
from linger_jax.typing import HostArray as HostArray
