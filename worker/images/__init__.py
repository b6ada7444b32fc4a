"""Finished images: files with their parameters inside, grids, enlarging."""
