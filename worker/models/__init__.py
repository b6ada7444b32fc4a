"""Models: from a folder, a file or the hub into memory, and which of them stay there."""
