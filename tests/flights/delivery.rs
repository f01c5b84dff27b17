//! What a kill does to a job that is not exactly once.
