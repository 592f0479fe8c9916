"""The `pix` command: each subcommand wraps one function of SQL or of this package."""
