"""Recognizing layers and operators in the equations of a staged model."""

from linger_jax.plan.recognize.custom_layers import with_custom_layers as with_custom_layers
from linger_jax.plan.recognize.flatten import flatten as flatten
from linger_jax.plan.recognize.function_regions import FunctionRegions as FunctionRegions
from linger_jax.plan.recognize.function_regions import host_lacks as host_lacks
from linger_jax.plan.recognize.recognition import recognise as recognise
from linger_jax.plan.recognize.recognition import spatial_window as spatial_window
from linger_jax.plan.recognize.scalar_division import SCALAR_DIVISION as SCALAR_DIVISION
from linger_jax.plan.recognize.scalar_division import as_multiplication as as_multiplication
from linger_jax.plan.recognize.templates import TEMPLATES as TEMPLATES
