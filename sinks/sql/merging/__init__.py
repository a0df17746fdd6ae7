"""What becomes of a row that is there when another one of its key comes: sums, extremes, the latest, any expression."""
