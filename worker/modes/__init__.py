"""What is drawn from what: each mode answers where sampling starts."""
