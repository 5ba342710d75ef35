"""The agent: peers, protocols, tools and configuration."""
