"""Message in, stored images out. Knows no HTTP."""
