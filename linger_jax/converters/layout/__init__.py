"""In which order the elements of a tensor stand on either side."""

from linger_jax.converters.layout.axis_layout import UNFOLLOWED as UNFOLLOWED
from linger_jax.converters.layout.axis_layout import AxisOrder as AxisOrder
from linger_jax.converters.layout.axis_layout import order_or_none as order_or_none
from linger_jax.converters.layout.inversion import inverted as inverted
from linger_jax.converters.layout.inversion import put_back as put_back
from linger_jax.converters.layout.layout_flow import FeatureOrders as FeatureOrders
from linger_jax.converters.layout.layout_flow import contracted_axes as contracted_axes
from linger_jax.converters.layout.layout_flow import feature_orders as feature_orders
