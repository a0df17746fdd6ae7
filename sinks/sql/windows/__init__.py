"""Windows of event time, as rows: what is open is kept by panes, what closes is written once, watermarks beside it."""
