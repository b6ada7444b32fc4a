"""`python -m client`, and the script `pdiff`."""

import sys


def main(name: str = "pdiff") -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it as quietly as later."""
    try:
        from client.cli import cli

        cli(prog_name=name)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main("python -m client")
