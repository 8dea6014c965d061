"""Takes the networks to chips: executor, runner and evaluation must give the same integers; exit status 1 otherwise.

python -m tests.zoo.chips --simulator simulate.py [--packer tpacker] [--chip arcs] [--only unet]
"""

import argparse
import sys
import time
from pathlib import Path

from tests.equality.__main__ import environment


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.zoo.chips", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulator", type=Path, required=True, help="the script that runs a package")
    parser.add_argument("--packer", type=Path, help="tpacker, where it is not found beside")
    parser.add_argument("--chip", action="append", help="arcs and venusA unless given")
    parser.add_argument("--only", help="networks whose names hold a text")
    options = parser.parse_args()
    environment()

    import warnings

    from tests.equality.device.simulator import Device
    from tests.zoo.chips.course import taken
    from tests.zoo.chips.networks import NETWORKS

    warnings.simplefilter("ignore")
    device, wrong = Device(options.simulator, options.packer), 0
    for chip in options.chip or ("arcs", "venusA"):
        for name, network in NETWORKS.items():
            if options.only is None or options.only in name:
                start = time.monotonic()
                found = taken(network, chip, device)
                wrong += found.outcome not in ("equal", "refused")
                took = f"{time.monotonic() - start:.0f} s"
                told = f"{found.nodes} nodes, {found.distinct} integers, {took} {found.message}"
                print(f"{chip} {name}: {found.outcome}; {told}", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
