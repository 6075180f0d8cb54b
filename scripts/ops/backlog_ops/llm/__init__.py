"""Talking to models: one `Provider` protocol, a chain over tiers, structured output."""
