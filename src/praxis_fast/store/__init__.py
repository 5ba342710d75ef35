"""Durable storage: SQLite behind one writer thread."""
