"""gunicorn, and what an open connection may cost."""
