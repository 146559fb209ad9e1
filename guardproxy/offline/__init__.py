"""What is run by hand and never by the proxy: `cli` imports it, nothing else does."""
