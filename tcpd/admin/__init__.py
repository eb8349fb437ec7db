"""What an operator sees of the daemon, and does to it: metrics, views, controls."""
