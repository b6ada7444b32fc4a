"""Enlarging images by networks, in tiles."""
