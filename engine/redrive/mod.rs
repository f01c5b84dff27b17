//! Dead letters that go through their job again: what a letter and a request for it look like in a topic, and how each letter stands.
//!
//! A **letter** lies in the dead-letter topic as its record came, with what was wrong in headers. A **request** is a record of another topic,
//! [`Env::redrive`](crate::Env::redrive), which belongs to one job@version alone: the record again, with the letter it comes from in one
//! more header. Tools append it under a fence; the source that refused the record reads it as one more partition, in order, and commits
//! how far it has come with everything else. So a request that is there is taken exactly once, and how a letter stands follows from the
//! two topics and from that position: nothing else is written down.
//!
//! A job@version that is begun again with `run --new` is another **life**: it has letters of its own, and takes no request made of another one's.
//!
//! Everything here is pure. Modules: `letter`, `request`, `life`, `reach` (how far requests were taken), `marks`, which says how letters
//! stand, and `noted`, the pairs that a manifest keeps for `life` and `reach`.

mod letter;
mod life;
mod marks;
mod noted;
mod reach;
mod request;

pub use letter::{Letter, LetterId, Origin};
pub use life::Life;
pub(crate) use life::begin;
pub use marks::{Mark, Marks};
pub use reach::Reach;
pub use request::{Opened, REQUEST, Request};

/// How the positions of a source's requests are called: the source's name with this ending.
const ENDING: &str = "/redrive";

/// What the positions of the requests of `source` are kept under.
#[must_use]
pub fn requests_of(source: &str) -> String {
    format!("{source}{ENDING}")
}

/// Whether positions under this name are those of requests. No source may be called so.
#[must_use]
pub fn is_requests(name: &str) -> bool {
    name.ends_with(ENDING)
}

/// Headers in their order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// Notes in the manifest of an epoch which requests it took, and which run it is of.
pub(crate) fn note(manifest: &mut millpond_state::store::Manifest) {
    reach::note(manifest);
    life::note(manifest);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
