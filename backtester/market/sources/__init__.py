"""Where market data comes from: each module turns one kind of raw file into the columns of `market.schema`."""
