"""Random models on the vendor's executor: what the device lint accepts runs there to the bit."""
