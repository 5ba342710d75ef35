"""The examples of upstream's documents, word for word but for host and port."""
