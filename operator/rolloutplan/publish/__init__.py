"""Where decisions go when they are recorded: one file a sink. Events today; see base.py for what a sink is."""
