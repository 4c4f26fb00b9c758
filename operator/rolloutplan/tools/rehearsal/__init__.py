"""A plan run through `PlanRun` on a simulated cluster, traffic and metrics, in virtual time. Pure, and seeded."""
