"""Budgets: what the agents of a workspace may use in a day or a month, asked before a model is called."""
