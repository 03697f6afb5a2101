"""`python -m equal_hf` is `equal-hf`."""

import sys

from equal_hf.cli import main

if __name__ == "__main__":
    sys.exit(main())
