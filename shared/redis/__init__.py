"""The Redis behind everything: its address, what it must be, its errors and its clock."""
