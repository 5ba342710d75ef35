"""The compiled core; import it through praxis_fast.core."""
