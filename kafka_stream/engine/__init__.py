"""One run of one stream: which batch is next, who owns its partitions, and its way through user code and the store."""
