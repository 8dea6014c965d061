"""The vendor's packer: an external program that turns a file into a device package."""

from linger_jax.export.packing.pack import pack as pack
from linger_jax.export.packing.pack_report import MemoryUse as MemoryUse
from linger_jax.export.packing.pack_report import PackReport as PackReport
from linger_jax.export.packing.packer import find_packer as find_packer
