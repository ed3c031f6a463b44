"""Where is it cheapest? Asks every shop of a market over HTTP and answers with the best offer."""
