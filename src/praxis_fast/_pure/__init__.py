"""The plain twins of the compiled core; import them through praxis_fast.core."""
