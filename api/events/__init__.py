"""The events of jobs, as one API process hears them."""
