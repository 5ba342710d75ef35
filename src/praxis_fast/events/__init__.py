"""The event bus and its vocabulary."""
