"""The agent server: jobs of this service as tools of the Model Context Protocol."""
