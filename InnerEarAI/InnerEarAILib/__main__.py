"""`python -m InnerEarAILib`: the command line."""

import sys

from InnerEarAILib.cli import main

if __name__ == "__main__":
    sys.exit(main())
