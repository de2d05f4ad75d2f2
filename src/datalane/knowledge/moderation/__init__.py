"""Citations that are not to be shown, and the outcome of a moderation that said so."""
