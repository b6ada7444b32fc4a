"""HTTP in, HTTP out. Never imports torch, diffusers or the worker."""
