"""WebSocket conformance: the Autobahn test suite, and a slice without it."""
