"""Ties a program to the process that starts it: `python leash.py <parent's pid> <signal> <program> <arguments...>`.

Where the system can (Linux), the kernel sends `signal` to the program the moment its parent dies, however it dies; then
this script becomes the program. It is a script of its own, and not a function between fork and exec, because the parent
may have threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Become the program; does not return."""
    parent, number, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)  # it died before the leash was on
    os.execvp(command[0], command)  # noqa: S606 - becoming that program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
