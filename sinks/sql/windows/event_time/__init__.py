"""Pure: records by event time, which of them are late, and what is made of them by pane, window and session."""
