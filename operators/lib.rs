//! operators

pub mod aggregate;
