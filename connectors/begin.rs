//! Where a first start begins in sources that are counted from zero and know no times.

use millpond_engine::source::From;
use millpond_engine::{Exit, Fault};

/// The position of the first record to read in `partition`; `end` is one past its last, where that is known before reading.
pub(crate) fn at(from: &From, partition: u32, end: Option<u64>, what: &str) -> Result<u64, Fault> {
    let refused = |text: String| Err(Fault::new(Exit::Usage, text));
    match from {
        From::Earliest => Ok(0),
        From::Latest => match end {
            Some(end) => Ok(end),
            None => refused(format!("{what} has no known end to begin at; begin at earliest or at partition:offset")),
        },
        From::Time(_) => refused(format!("{what} has no times to begin at; begin at earliest or at partition:offset")),
        From::Offsets(offsets) => {
            let named = offsets.iter().find(|(of, _)| *of == partition);
            let offset = named.map_or(0, |(_, offset)| *offset);
            match end {
                Some(end) if offset > end => {
                    refused(format!("partition {partition} of {what} ends at {end}, before {offset}"))
                }
                _ => Ok(offset),
            }
        }
    }
}
