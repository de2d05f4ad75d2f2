"""Why an answer says what it says: its evidence down to the cited bytes, and every version involved."""
