"""Receipts: one ledger row per model call, written by code from real usage at dated prices."""
