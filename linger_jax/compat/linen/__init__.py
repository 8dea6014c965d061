"""What stands below the modules of Flax Linen; apart from the rest of the room, since the numerics know no Flax."""

from linger_jax.compat.linen.linen_modules import boxed_like as boxed_like
from linger_jax.compat.linen.linen_modules import in_collections as in_collections
from linger_jax.compat.linen.linen_modules import intercepted_method as intercepted_method
from linger_jax.compat.linen.linen_modules import lifted_classes as lifted_classes
from linger_jax.compat.linen.linen_modules import unboxed as unboxed
from linger_jax.compat.linen.linen_modules import under_interceptors as under_interceptors
from linger_jax.compat.linen.linen_modules import without_collections as without_collections
from linger_jax.compat.linen.linen_modules import written_method as written_method
