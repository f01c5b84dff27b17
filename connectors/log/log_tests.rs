//! What the log promises, through its public interface.
