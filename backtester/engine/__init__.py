"""From a configuration to a result: resolve, load, decide, replay, check."""
