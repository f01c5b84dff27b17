//! What stops a job: a sentence for the reader and the exit code chosen by what the reader would do.

use crate::Exit;

/// An error that ends a run. Its text names the job's step, the place and the way out; its [`Exit`] says what kind of help it needs.
///
/// ```
/// use millpond_engine::{Exit, Fault};
/// let fault = Fault::new(Exit::FixJob, "record 7 of clicks/0 is not JSON").because(std::io::Error::other("line 1 column 3"));
/// assert_eq!(fault.to_string(), "record 7 of clicks/0 is not JSON: line 1 column 3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    exit: Exit,
    text: String,
    place: Place,
}

/// What is known of the place that a fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Other,
    Missing,
    Locked,
    Mute,
}

impl Fault {
    /// A fault with its sentence: lower case, no full stop.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Fault { exit, text: text.into(), place: Place::Other }
    }

    /// The same with its cause, and the cause's causes, appended.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error) -> Self {
        self.text.push_str(&format!(": {cause}"));
        let mut source = cause.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !self.text.ends_with(&text) {
                self.text.push_str(&format!(": {text}"));
            }
            source = cause.source();
        }
        self
    }

    /// The same, known as one of a place that is not there: neither one that may not be looked at, nor one that gives no answer.
    ///
    /// ```
    /// use millpond_engine::{Exit, Fault};
    /// let fault = Fault::new(Exit::Usage, "there is no topic clicks");
    /// assert!(!fault.is_missing() && fault.missing().is_missing());
    /// ```
    #[must_use]
    pub fn missing(mut self) -> Self {
        self.place = Place::Missing;
        self
    }

    /// Whether it is one of a place that is not there.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self.place, Place::Missing)
    }

    /// The same, known as one of a place that does not let us in, by password or certificate. What runs waits for a while: whoever changes
    /// passwords changes them here and there, in some order.
    ///
    /// ```
    /// use millpond_engine::{Exit, Fault};
    /// let fault = Fault::new(Exit::Usage, "the broker refuses the password").locked_out();
    /// assert!(fault.is_locked_out() && !fault.is_missing());
    /// ```
    #[must_use]
    pub fn locked_out(mut self) -> Self {
        self.place = Place::Locked;
        self
    }

    /// Whether it is one of a place that does not let us in.
    #[must_use]
    pub const fn is_locked_out(&self) -> bool {
        matches!(self.place, Place::Locked)
    }

    /// The same, known as one of a place that hangs up without a word: it may want a password that it does not get, or be away behind what takes
    /// its calls. A start gives up; what runs was let in before, and waits as long as it takes.
    ///
    /// ```
    /// use millpond_engine::{Exit, Fault};
    /// let fault = Fault::new(Exit::Usage, "the broker hangs up").mute();
    /// assert!(fault.is_mute() && !fault.is_locked_out());
    /// ```
    #[must_use]
    pub fn mute(mut self) -> Self {
        self.place = Place::Mute;
        self
    }

    /// Whether it is one of a place that hangs up without a word.
    #[must_use]
    pub const fn is_mute(&self) -> bool {
        matches!(self.place, Place::Mute)
    }

    /// The exit code the process ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}
