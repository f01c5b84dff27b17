//! connectors

pub mod log;
