"""What makes a loaded model fast on the hardware at hand, without another image."""
