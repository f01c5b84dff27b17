//! How numbers, texts and entries lie in a file: little endian, lengths first.

/// Appends a little-endian number.
pub(crate) trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! put_number {
    ($($number:ty),*) => {$(
        impl Put for $number {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}
put_number!(u16, u32, u64);

/// Appends bytes after their length (u32).
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    u32::try_from(bytes.len()).expect("a uid or a prefix is shorter than 4 GiB").put(out);
    out.extend_from_slice(bytes);
}

/// Appends a number in 7-bit groups, the lowest first, the high bit set in all but the last.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number of [`put_varint`] from `bytes` at `at` and moves `at` behind it. `None` when there is none.
#[inline]
pub(crate) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut number = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Reads what [`Put`] and [`put_bytes`] wrote. Each answer is `None` when the bytes end before it does.
pub(crate) struct Take<'a> {
    pub(crate) bytes: &'a [u8],
}

impl<'a> Take<'a> {
    fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.raw(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_cut_ones_do_not() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX) + 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            let mut at = 0;
            assert_eq!(take_varint(&out, &mut at), Some(number));
            assert_eq!(at, out.len());
            out.pop();
            assert_eq!(take_varint(&out, &mut 0), None);
        }
    }
}
