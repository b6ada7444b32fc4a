"""A request: its fields, its checks, and the frozen value that they give."""
