"""Which seeds there are."""

MAX_SEED = 2**32 - 1
