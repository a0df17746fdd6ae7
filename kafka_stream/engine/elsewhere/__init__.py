"""Batches whose records are read and prepared by an executor's workers; what they give is committed here."""
