"""One module a gate. Each `step(ctx, run, ticket)` does what comes next for a ticket and writes where it stands."""
