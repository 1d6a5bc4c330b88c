//! The lines of a head: looked through for a name, and those that pass as they are copied in runs. Most heads are one or two of
//! these.

use super::parse::{LINES_MAX, Line};
use crate::model::Head;

impl Head for &[Line<'_>] {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|line| line.is(name)).map(|line| line.value)
    }

    fn has_line(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().filter(|line| line.is(name)).any(|line| test(line.value))
    }

    fn each_line(&self, see: &mut dyn FnMut(&str, &[u8])) {
        self.iter().for_each(|line| see(line.name_text(), line.value));
    }
}

/// Which lines of a head pass as they are, a bit for each. Most do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing([u64; LINES_MAX / 64]);

impl Passing {
    /// All of them.
    pub(super) fn all() -> Self {
        Self([u64::MAX; LINES_MAX / 64])
    }

    pub(super) fn add(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    #[cfg(test)]
    fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// The first line from `from` on that does not pass; `end` where there is none before it.
    fn next_hole(&self, from: usize, end: usize) -> usize {
        let mut at = from;
        while at < end {
            let word = self.0.get(at / 64).copied().unwrap_or_default();
            match (!word >> (at % 64)).trailing_zeros() as usize {
                64 => at = (at / 64 + 1) * 64,
                zeros => return (at + zeros).min(end),
            }
        }
        end
    }
}

/// Where a part of `bytes` begins in it.
pub(super) fn place(bytes: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr()).min(bytes.len())
}

/// Writes the lines that pass. `is_tidy`: as they are.
pub(super) fn copy(
    head: &[u8],
    lines: &[Line<'_>],
    is_tidy: bool,
    passing: &Passing,
    out: &mut Vec<u8>,
) {
    let mut start = 0;
    while start < lines.len() {
        let hole = passing.next_hole(start, lines.len());
        let run = &lines[start..hole];
        match run.first() {
            None => {}
            Some(first) if is_tidy => {
                // The head ends with an empty line.
                let after = lines.get(hole).map_or(head.len() - 2, |line| place(head, line.name()));
                out.extend_from_slice(&head[place(head, first.name())..after]);
            }
            Some(_) => {
                for line in run {
                    for part in [line.name(), b": ", line.value, b"\r\n"] {
                        out.extend_from_slice(part);
                    }
                }
            }
        }
        start = hole + 1;
    }
}

/// Writes a number in decimal digits.
pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::parse::{Lines, answer};

    /// What is written of a head when the lines of these names pass.
    fn copied(head: &str, names: &str) -> String {
        let mut lines = Lines::new();
        let answer = answer(head.as_bytes(), &mut lines, 9).expect("a head").expect("a whole one");
        let mut out = Vec::new();
        let mut passing = Passing::all();
        for (index, line) in answer.lines.iter().enumerate() {
            if !names.contains(line.name_text()) {
                passing.remove(index);
            }
        }
        copy(answer.bytes, answer.lines, answer.is_tidy, &passing, &mut out);
        String::from_utf8(out).expect("plain text")
    }

    #[test]
    fn lines_pass_as_they_are() {
        let head = "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nC:3\r\nD:  4 \r\nE: \r\n\r\nbody";
        assert_eq!(copied(head, "ABCDE"), "A: 1\r\nB: 2\r\nC:3\r\nD:  4 \r\nE: \r\n");
        assert_eq!(copied(head, "ACE"), "A: 1\r\nC:3\r\nE: \r\n");
        assert_eq!(copied(head, "B"), "B: 2\r\n");
        assert_eq!(copied(head, ""), "");
    }

    #[test]
    fn what_stands_otherwise_is_written_anew() {
        let tidied = "A: 1\r\nB: 2\r\n";
        assert_eq!(copied("HTTP/1.1 200 OK\r\nA : 1\r\nB: 2\r\n\r\n", "AB"), tidied);
        assert_eq!(copied("HTTP/1.1 200 OK\r\nA: 1\nB: 2\r\n\r\n", "AB"), tidied);
        assert_eq!(copied("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\n\n", "AB"), tidied);
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 1_024, u64::MAX] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(String::from_utf8(out).expect("digits"), number.to_string());
        }
    }

    #[test]
    fn each_line_has_its_bit() {
        let mut passing = Passing::all();
        (0..256).for_each(|index| passing.remove(index));
        [0, 1, 63, 64, 65, 255].into_iter().for_each(|index| passing.add(index));
        passing.remove(1);
        let found: Vec<_> = (0..256).filter(|&index| passing.has(index)).collect();
        assert_eq!(found, [0, 63, 64, 65, 255]);
        let holes = [(0, 256), (63, 256), (0, 1), (63, 64), (255, 256), (256, 256)];
        let holes = holes.map(|(from, end)| passing.next_hole(from, end));
        assert_eq!(holes, [1, 66, 1, 64, 256, 256]);
    }
}
