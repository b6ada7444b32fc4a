"""What clients are given of a job."""
