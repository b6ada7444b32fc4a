"""One blueprint a dialect or subject."""
