"""Product analytics: what was tracked, with the plan that was enforced when it happened, and where the two differ."""
