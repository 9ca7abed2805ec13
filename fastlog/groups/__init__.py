"""Consumer groups: who shares a topic's partitions (pure), what they have committed, and the topic in which both are kept."""
