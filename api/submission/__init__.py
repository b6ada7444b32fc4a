"""From a validated request to a queued job, the same for every dialect."""
