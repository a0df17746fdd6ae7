"""Rows into PostgreSQL: what its catalogs say, and ``COPY`` in place of many an INSERT."""
