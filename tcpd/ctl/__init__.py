"""`tcpdctl`: see and steer a daemon that runs, over its admin site. The standard library only."""
