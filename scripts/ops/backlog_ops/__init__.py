"""The library behind `backlog-ops` and `llm_call.py`: tickets in, reviewed commits and receipts out."""

__version__ = "0.3.0"
