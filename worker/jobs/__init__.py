"""From a message of the queue to the stored images of one task."""
