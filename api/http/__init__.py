"""The edge: who asks, from where, with what body, and how errors are told."""
