"""Which objects need a verdict: listing, identity, plan."""
