"""Pure ranking: words into a query, evidence into an order, content into excerpts. No I/O, no SQL."""
