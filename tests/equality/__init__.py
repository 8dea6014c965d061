"""Random models, evaluated in every way there is: all must give the same numbers, to the bit (tests/README.md)."""
