"""Agents: what they may call, what they are made of, and a ledger of their runs, tool calls and costs."""
