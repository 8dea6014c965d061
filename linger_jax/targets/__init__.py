"""The chips: one record each, with everything that differs from chip to chip.

Code asks the record and never compares the name of a chip. A new chip is a member of ``Platform``, a record in a
file of its own and a case of ``target_of``. Forgetting a field is a ``TypeError``, forgetting the case an error
of mypy.
"""

from linger_jax.targets.device import FARTHEST_LEFT_SHIFT as FARTHEST_LEFT_SHIFT
from linger_jax.targets.device import Device as Device
from linger_jax.targets.device import Executor as Executor
from linger_jax.targets.device import FunctionForm as FunctionForm
from linger_jax.targets.device import LookUp as LookUp
from linger_jax.targets.device import PlatformQuant as PlatformQuant
from linger_jax.targets.device import RowBuffer as RowBuffer
from linger_jax.targets.device import ScratchNeed as ScratchNeed
from linger_jax.targets.device import TableIndex as TableIndex
from linger_jax.targets.kernels import ChipKernels as ChipKernels
from linger_jax.targets.kernels import GeluSwish as GeluSwish
from linger_jax.targets.kernels import GruArithmetic as GruArithmetic
from linger_jax.targets.kernels import LstmArithmetic as LstmArithmetic
from linger_jax.targets.kernels import NarrowArithmetic as NarrowArithmetic
from linger_jax.targets.kernels import SigmoidTanh as SigmoidTanh
from linger_jax.targets.kernels import Softmax as Softmax
from linger_jax.targets.kernels import SoftmaxDivision as SoftmaxDivision
from linger_jax.targets.kernels import WideArithmetic as WideArithmetic
from linger_jax.targets.platform import DEFAULT_PLATFORM as DEFAULT_PLATFORM
from linger_jax.targets.platform import PLATFORM_OF_UNMARKED_FILES as PLATFORM_OF_UNMARKED_FILES
from linger_jax.targets.platform import Platform as Platform
from linger_jax.targets.platform import device_of as device_of
from linger_jax.targets.platform import packed_platforms as packed_platforms
from linger_jax.targets.platform import target_of as target_of
from linger_jax.targets.target import PoolDivision as PoolDivision
from linger_jax.targets.target import Target as Target
from linger_jax.targets.target import WindowLimits as WindowLimits
from linger_jax.targets.two_convolutions import TwoSteps as TwoSteps
from linger_jax.targets.two_convolutions import fits_one as fits_one
from linger_jax.targets.two_convolutions import in_two_steps as in_two_steps
from linger_jax.targets.two_convolutions import windows_in_two as windows_in_two
