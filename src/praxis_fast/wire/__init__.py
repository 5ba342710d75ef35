"""Sans-IO protocols: bytes, time and randomness come in as arguments."""
