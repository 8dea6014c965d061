"""Nothing depends on how it is run: on devices, processes, threads, or what ran before (tests/README.md)."""
