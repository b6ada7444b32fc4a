"""Jobs in Redis: their records, their line, and who works on them."""
