"""How sure a result is: the share of judged results with such a score that were relevant."""
