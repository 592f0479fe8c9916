"""One model per user: votes, algorithms, training, what users have in common, recommendations, comparisons."""
