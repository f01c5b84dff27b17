//! A step's function that takes state of another shape: what makes a changed aggregate go on with what the old one had kept.

use std::fmt;
use std::rc::Rc;

use millpond_state::{CodecError, Shape};

type Convert = dyn Fn(&[u8], &[u8], &mut Vec<u8>) -> Result<(), CodecError>;

/// Takes the state of a step whose partials had another shape. Applied once to each entry of a savepoint, when a version starts from it.
///
/// ```
/// use millpond_engine::Upgrade;
/// use millpond_state::{Shape, decode, encode_into};
/// let of_counts = Upgrade::new(Shape::of::<u64>().unwrap(), |_key, value, out| {
///     let count: u64 = decode(value)?;
///     encode_into(&(count, None::<i64>), out)
/// });
/// assert_eq!(of_counts.from().to_string(), "u64");
/// ```
#[derive(Clone)]
pub struct Upgrade {
    from: Shape,
    convert: Rc<Convert>,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Upgrade {
    /// From partials of the shape `from`. `convert` gets a stored key and value, and writes the new value; it must answer the same each time.
    pub fn new(from: Shape, convert: impl Fn(&[u8], &[u8], &mut Vec<u8>) -> Result<(), CodecError> + 'static) -> Self {
        Upgrade { from, convert: Rc::new(convert) }
    }

    /// The shape it takes.
    #[must_use]
    pub fn from(&self) -> &Shape {
        &self.from
    }

    /// Writes the new value of a stored entry.
    ///
    /// # Errors
    /// When the old one is not what its shape says, or the new one has no encoding.
    pub fn convert(&self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        (self.convert)(key, value, out)
    }
}
