"""Pure rules: tickets, waves, routing, pricing, verdicts. No I/O, no clock, no environment."""
