//! What may travel in a stream and what may be a key.

use serde::{Serialize, de::DeserializeOwned};

/// What may travel in a stream, lie in state and be written to a checkpoint: the one bound on users' types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a stream",
    note = "it must be `Clone + Send + 'static` and derive serde's `Serialize` and `Deserialize`"
)]
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// What may be a key: data that can be compared. Its hash is Millpond's own ([`crate::stable_hash`]), so `std::hash::Hash` is not asked for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "a key is data (`Clone`, serde's `Serialize` and `Deserialize`) that is also `Eq`"
)]
pub trait Key: Data + Eq {}
impl<T: Data + Eq> Key for T {}
