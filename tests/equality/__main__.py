"""Draws models and evaluates each in every way; exit status 1 where two ways differ or one fails.

    python -m tests.equality --count 200 --seed 1 [--only softmax] [--platform arcs] [--jobs 2] [--index 17]
    python -m tests.equality --device arcs --simulator simulate.py --count 100 --seed 1 [--packer tpacker]

Every model follows from seed and index (and ``--only``, ``--platform``) alone.
"""

import argparse
import os
import sys
from pathlib import Path

# As in the Makefile: a program is compiled once and run once.
_LESS = (
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)


def environment() -> None:
    """Before JAX is imported, here and in the processes of ``--jobs``."""
    os.environ.setdefault("XLA_FLAGS", _LESS)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("PJRT_NPROC", "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(".cache/jax").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.equality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="how many models")
    parser.add_argument("--seed", type=int, default=0, help="of all models")
    parser.add_argument("--index", type=int, help="one model alone")
    parser.add_argument("--first", type=int, default=0, help="index of the first model")
    parser.add_argument("--only", help="a kind or move that every model holds")
    parser.add_argument("--platform", help="the chip of every model")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="few ways a model, as in the test suite")
    parser.add_argument("--tries", type=int, default=120, help="evaluations to shrink a counterexample; 0 for none")
    parser.add_argument("--programs", type=Path, help="folder for one program a counterexample")
    parser.add_argument("--device", help="pack every model for a chip and run it on the vendor's executor")
    parser.add_argument("--simulator", type=Path, help="of --device: the script that runs a package")
    parser.add_argument("--packer", type=Path, help="of --device: tpacker, where it is not found beside")
    options = parser.parse_args()
    environment()

    from linger_jax.config import Platform
    from linger_jax.targets import packed_platforms
    from tests.equality.campaign import run
    from tests.equality.drawn.calls_of_kinds import CALLS
    from tests.equality.examining import Asked

    if options.only is not None and options.only not in CALLS:
        parser.error(f"--only {options.only}: known are {', '.join(CALLS)}")
    if options.platform is not None and options.platform not in tuple(Platform):
        parser.error(f"--platform {options.platform}: known are {', '.join(Platform)}")
    indices = range(options.first, options.first + options.count) if options.index is None else [options.index]
    if options.device is not None:
        from tests.equality.device import campaign
        from tests.equality.device.simulator import Device

        chips = packed_platforms()
        if options.device not in chips:
            parser.error(f"--device {options.device}: known are {', '.join(chips)}")
        if options.simulator is None or not options.simulator.is_file():
            parser.error("--device wants --simulator, the path of the script that runs a package")
        device = Device(options.simulator, options.packer)
        wanted = campaign.Asked(options.seed, options.only, Platform(options.device), device, options.tries)
        return campaign.run(wanted, indices, options.programs)
    platform = None if options.platform is None else Platform(options.platform)
    asked = Asked(options.seed, options.only, platform, options.quick, options.tries)
    return run(asked, indices, options.jobs, options.programs)


if __name__ == "__main__":
    sys.exit(main())
