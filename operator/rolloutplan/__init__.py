"""RolloutPlan: progressive delivery as a sequence of hypotheses, each judged before the next."""

__version__ = "0.1.0"
