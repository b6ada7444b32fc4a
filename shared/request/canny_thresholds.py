"""The usual thresholds of Canny's edges, for levels from 0 to 255."""

LOW, HIGH = 100, 200
"""An edge begins at the high one and goes on down to the low one."""
