"""Adds up expenses."""
