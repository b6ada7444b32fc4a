"""The commands of `pdiff`, one file each; `client/cli.py` lists them."""
