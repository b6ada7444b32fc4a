"""Images that clients send, decoded in processes that may die of them."""
