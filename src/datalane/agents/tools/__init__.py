"""Tools: what agents may call, and the rules that decide each call."""
