"""Which cluster to show next, what is expected of new users, and what other policies would have been worth."""
