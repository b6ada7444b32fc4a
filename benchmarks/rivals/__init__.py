"""Our service against servers with the stock pipeline, over HTTP: `python -m benchmarks.rivals`."""
