"""Final layers on stored features, and their training."""
