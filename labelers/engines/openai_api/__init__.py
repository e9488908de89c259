"""Any OpenAI-compatible chat server."""
