"""One command a question; what was measured, on which machine and when, lies in `results/`."""
