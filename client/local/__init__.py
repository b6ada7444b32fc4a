"""The whole service as programs of this machine, for `make run`."""
