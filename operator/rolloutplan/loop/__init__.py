"""The one loop: watch -> store -> schedule -> reconcile. All decisions are the engine's; here they are carried out."""
