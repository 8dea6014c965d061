"""The graph of a plan: values, nodes, owners, and what is known of JAX's equations."""
