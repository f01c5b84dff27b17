//! The terminal: a live block on stderr that stays below everything else written there, and stdout for results. [`print()`] and [`say`] are
//! for jobs as well.
//!
//! The block is drawn and the cursor put back to its first line, so that whoever writes next begins there, on a clean line if it goes
//! through [`say`], and the block is drawn again below.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Exit, Fault};

/// Whether a block stands at the cursor.
static DRAWN: Mutex<bool> = Mutex::new(false);

const ERASE: &str = "\r\x1b[J";

fn lock() -> MutexGuard<'static, bool> {
    // A flag cannot be left half done.
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Erases the block, and lets nobody draw it until the guard goes.
fn erased() -> MutexGuard<'static, bool> {
    let mut drawn = lock();
    if std::mem::take(&mut *drawn) {
        let _ = io::stderr().write_all(ERASE.as_bytes());
    }
    drawn
}

/// Whether stderr is a terminal that can redraw.
pub(super) fn is_live() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a line for people to stderr, above what a run shows there. Nothing is lost when nobody can read it, so that is no error; `eprintln!`
/// panics then.
///
/// ```
/// millpond_engine::cli::say("results are in topic page-views");
/// ```
pub fn say(line: &str) {
    let _erased = erased();
    let _ = writeln!(io::stderr(), "{line}");
}

/// Draws the block, each line cut to the terminal's width.
pub(super) fn draw(lines: &[String]) {
    let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
    let text = block(lines, width);
    let mut drawn = lock();
    let _ = io::stderr().write_all(text.as_bytes());
    *drawn = true;
}

/// Takes the block away, for good or until it is drawn again.
pub(super) fn clear() {
    drop(erased());
}

fn block(lines: &[String], width: usize) -> String {
    // A line as wide as the terminal would wrap and be two.
    let cut = |line: &String| line.chars().take(width.saturating_sub(1).max(1)).collect::<String>();
    let lines: Vec<_> = lines.iter().map(cut).collect();
    let up = if lines.len() > 1 { format!("\x1b[{}A", lines.len() - 1) } else { String::new() };
    format!("{ERASE}{}{up}\r", lines.join("\r\n"))
}

/// Prints a result to stdout, as it is: line ends are the caller's. A reader that has gone, like `head`, is no error; `println!` panics then.
///
/// # Errors
/// When stdout cannot be written, since its disk is full say. It is worth trying again ([`Exit::Retry`]).
///
/// ```
/// use millpond_engine::cli::print;
/// print(&format!("{} rows in topic page-views\n", 12))?;
/// # Ok::<(), millpond_engine::Fault>(())
/// ```
pub fn print(text: &str) -> Result<(), Fault> {
    let _erased = erased();
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritable(&error)),
        _ => Ok(()),
    }
}

/// Says what is about to happen and asks on a terminal whether it may; without one nobody says yes.
///
/// # Errors
/// When the answer cannot be read.
pub(super) fn agreed(what: &str) -> Result<bool, Fault> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    say(&format!("{what}\ntype yes to go on:"));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Fault::new(Exit::Retry, "cannot read the answer").because(error))?;
    Ok(answer.trim() == "yes")
}

/// Why nothing can be written to stdout.
pub(super) fn unwritable(error: &io::Error) -> Fault {
    Fault::new(Exit::Retry, "cannot write to stdout").because(error)
}

/// Stderr for `tracing`: what it writes stands above the block.
#[derive(Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _erased = erased();
        io::stderr().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_leaves_the_cursor_where_it_began_and_never_wraps() {
        let lines = ["flights@1".to_owned(), "ä".repeat(100), "c".to_owned()];
        let text = block(&lines, 10);
        assert_eq!(text, format!("\r\x1b[Jflights@1\r\n{}\r\nc\x1b[2A\r", "ä".repeat(9)));
        assert_eq!(block(&lines[2..], 0), "\r\x1b[Jc\r");
    }
}
