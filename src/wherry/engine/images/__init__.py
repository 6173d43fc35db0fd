"""Images: where they come from, where they go, what is known of them."""
