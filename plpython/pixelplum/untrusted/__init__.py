"""What comes from others: looked at before a library opens it.

Used by the server and by the `pix` command alike; knows neither.
"""
