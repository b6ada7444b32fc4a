"""The embedded demo model: a small drawing world, and a Stable Diffusion trained on it from nothing."""
