"""Transactions that user code writes through: how they are left, tried in parts, and which one is in hand."""
