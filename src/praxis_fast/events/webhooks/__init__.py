"""Webhooks: endpoints, the durable outbox, signatures, and the address gate."""
