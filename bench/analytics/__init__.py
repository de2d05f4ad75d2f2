"""Analytics: recording events beside inserts by hand, and a funnel over millions of events beside SQL by hand."""
