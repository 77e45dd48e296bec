"""`troupe demo`: pooling at work on real MCP servers, measured and shown."""
