"""`python -m tlpipe.stages NAME [ARGUMENT]`: what torchrun starts its workers with."""

import sys

from tlpipe.config import ConfigError
from tlpipe.stages.runner import run_stage

if __name__ == "__main__":
    try:
        run_stage(*sys.argv[1:])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
