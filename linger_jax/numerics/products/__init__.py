"""Products: kept apart from sums, summed in a fixed order, exact on integers; their precision, and their bias."""

from linger_jax.numerics.products.bias import bias_steps as bias_steps
from linger_jax.numerics.products.bias import largest_weight_scale as largest_weight_scale
from linger_jax.numerics.products.integer_contraction import Dimensions as Dimensions
from linger_jax.numerics.products.integer_contraction import contraction as contraction
from linger_jax.numerics.products.integer_contraction import matmul as matmul
from linger_jax.numerics.products.integer_product import DIGIT_BITS as DIGIT_BITS
from linger_jax.numerics.products.integer_product import EXACT as EXACT
from linger_jax.numerics.products.integer_product import integer_product as integer_product
from linger_jax.numerics.products.integer_product import largest_sum as largest_sum
from linger_jax.numerics.products.ordered_product import ordered_product as ordered_product
from linger_jax.numerics.products.product_precision import precise_product as precise_product
from linger_jax.numerics.products.product_precision import product_precision as product_precision
from linger_jax.numerics.products.rounded_product import rounded_product as rounded_product
