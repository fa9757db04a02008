//! What the operator can ask: one file a verb.
