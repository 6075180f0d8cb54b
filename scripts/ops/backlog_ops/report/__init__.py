"""The ledger, shown: figures, the terminal, one HTML page, exports."""
