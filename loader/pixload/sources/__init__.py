"""Files and URLs read as streams of typed rows, and of rejects that say what could not be read and why."""
