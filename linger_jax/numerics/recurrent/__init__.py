"""LSTM and GRU in the chips' integers, forward and backward; knows neither quantizers nor layers."""

from linger_jax.numerics.recurrent.forms import gru_form as gru_form
from linger_jax.numerics.recurrent.forms import lstm_form as lstm_form
from linger_jax.numerics.recurrent.gru import GruCell as GruCell
from linger_jax.numerics.recurrent.loop import LoopForm as LoopForm
from linger_jax.numerics.recurrent.loop import Operands as Operands
from linger_jax.numerics.recurrent.loop import Run as Run
from linger_jax.numerics.recurrent.loop import Scales as Scales
from linger_jax.numerics.recurrent.loop import backward as backward
from linger_jax.numerics.recurrent.loop import forward as forward
from linger_jax.numerics.recurrent.lstm import CELL_SCALE as CELL_SCALE
from linger_jax.numerics.recurrent.lstm import LstmCell as LstmCell
