"""Who gets in, and how long what may take."""
