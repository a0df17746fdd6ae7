"""Nexmark: an online auction as streams of persons, auctions and bids, and queries over them.

The model is that of Tucker, Tufte, Papadimos and Maier ("NEXMark: A Benchmark for Queries over Data Streams"); the
shares of kinds, and queries 11 and 12, are those of Apache Beam's suite. ``generator`` makes events, ``queries`` asks
them by streams, ``references`` by plain programs that share nothing with these but the lengths of windows.
"""
