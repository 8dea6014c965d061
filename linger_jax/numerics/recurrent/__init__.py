"""LSTM and GRU in the chips' integers, forward and backward; knows neither quantizers nor layers."""

from linger_jax.numerics.recurrent.cell_variants import executor_gru_variant as executor_gru_variant
from linger_jax.numerics.recurrent.cell_variants import gru_variant as gru_variant
from linger_jax.numerics.recurrent.cell_variants import lstm_variant as lstm_variant
from linger_jax.numerics.recurrent.cell_variants import primitive_gru_variant as primitive_gru_variant
from linger_jax.numerics.recurrent.executor_gru import LABEL_SHIFT as LABEL_SHIFT
from linger_jax.numerics.recurrent.executor_gru import ExecutorGru as ExecutorGru
from linger_jax.numerics.recurrent.executor_gru import of_new_state_alone as of_new_state_alone
from linger_jax.numerics.recurrent.executor_gru import run_executor_gru as run_executor_gru
from linger_jax.numerics.recurrent.gru_cell import GruCell as GruCell
from linger_jax.numerics.recurrent.lstm_cell import CELL_SCALE as CELL_SCALE
from linger_jax.numerics.recurrent.lstm_cell import LstmCell as LstmCell
from linger_jax.numerics.recurrent.primitive_gru_cell import GATE_SCALE as GATE_SCALE
from linger_jax.numerics.recurrent.primitive_gru_cell import PRE_ACTIVATION_SCALES as PRE_ACTIVATION_SCALES
from linger_jax.numerics.recurrent.primitive_gru_cell import PrimitiveGruCell as PrimitiveGruCell
from linger_jax.numerics.recurrent.primitive_gru_cell import opposite_of_update as opposite_of_update
from linger_jax.numerics.recurrent.time_loop import SPARE_BITS as SPARE_BITS
from linger_jax.numerics.recurrent.time_loop import LoopVariant as LoopVariant
from linger_jax.numerics.recurrent.time_loop import Operands as Operands
from linger_jax.numerics.recurrent.time_loop import Run as Run
from linger_jax.numerics.recurrent.time_loop import Scales as Scales
from linger_jax.numerics.recurrent.time_loop import backward as backward
from linger_jax.numerics.recurrent.time_loop import forward as forward
