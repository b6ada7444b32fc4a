"""From the text of a prompt to what a denoiser is told."""
