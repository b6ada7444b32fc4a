"""What a worker computes on: devices, cores, memory, and the variants built on them."""
