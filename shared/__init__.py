"""The vocabulary that the API, the workers and the client share; imports neither Flask nor torch."""
