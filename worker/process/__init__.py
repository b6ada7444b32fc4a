"""A worker process: what it consists of, what it does at intervals, how it ends."""
