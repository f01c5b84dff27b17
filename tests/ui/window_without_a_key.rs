//! A window is a window of each key.
//~ no method named `window` found for struct `Stream<

use std::time::Duration;

use millpond::{Stream, Tumbling};

fn draw(words: Stream<'_, String>) {
    let _ = words.window(Tumbling::of(Duration::from_secs(60)));
}

fn main() {
    let _ = draw;
}
