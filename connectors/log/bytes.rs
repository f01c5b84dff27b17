//! Little-endian numbers and positioned reads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(super) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}

/// Fills `buffer` from `position` on, or as much of it as the file has; says how much.
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], mut position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while !buffer.is_empty() {
        match file.read_at(buffer, position) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                position += read as u64;
                buffer = &mut buffer[read..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
