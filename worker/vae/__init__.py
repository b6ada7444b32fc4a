"""Between pixels and latents, and what a running request looks like."""
