"""What is told about an import."""

from linger_jax.converters.report.folded_name import folded_name as folded_name
from linger_jax.converters.report.import_problems import ImportProblems as ImportProblems
from linger_jax.converters.report.import_report import TIED as TIED
from linger_jax.converters.report.import_report import ImportReport as ImportReport
from linger_jax.converters.report.import_report import ImportRow as ImportRow
