//! Expressions as Go reads them (RE2's syntax), written as our library reads them: most of it is the same.
//!
//! What differs (github.com/google/re2/wiki/Syntax): `\d`, `\s`, `\w` and `\b` know ASCII alone, `\<` is a plain `<`, `\Q…\E` quotes, a
//! `{` that begins no count is itself, and in a class `[`, `&&`, `--` and `~~` mean nothing.

use std::iter::Peekable;
use std::str::CharIndices;

/// The expression in our library's words. What is wrong with it stays wrong: the library says so.
pub(super) fn translated(expression: &str) -> String {
    let mut reader = Reader { text: expression, chars: expression.char_indices().peekable() };
    let mut out = String::with_capacity(expression.len());
    while let Some((at, c)) = reader.chars.next() {
        match c {
            '\\' => reader.escape(&mut out),
            '[' => reader.class(&mut out),
            '{' if !is_count(reader.from(at)) => out.push_str(r"\{"),
            c => out.push(c),
        }
    }
    out
}

struct Reader<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
}

/// What `\d`, `\s` and `\w` stand for in a class.
fn ascii_class(letter: char) -> Option<&'static str> {
    match letter {
        'd' => Some("0-9"),
        's' => Some(r"\t\n\x0C\r "),
        'w' => Some("0-9A-Za-z_"),
        _ => None,
    }
}

/// Whether this begins with `{2}`, `{2,}` or `{2,3}`.
fn is_count(text: &str) -> bool {
    let Some((count, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return false;
    };
    let (least, most) = count.split_once(',').unwrap_or((count, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

impl<'t> Reader<'t> {
    /// The text from there on.
    fn from(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// What stands behind a backslash outside of classes.
    fn escape(&mut self, out: &mut String) {
        let Some((_, letter)) = self.chars.next() else { return out.push('\\') };
        match letter {
            'd' | 's' | 'w' => out.extend(["[", ascii_class(letter).unwrap_or_default(), "]"]),
            'D' | 'S' | 'W' => {
                let letter = letter.to_ascii_lowercase();
                out.extend(["[^", ascii_class(letter).unwrap_or_default(), "]"]);
            }
            'b' => out.push_str(r"(?-u:\b)"),
            '<' | '>' => out.push(letter),
            'Q' => self.quoted(out),
            letter => out.extend(['\\', letter]),
        }
    }

    /// What stands between `\Q` and `\E`, or the end.
    fn quoted(&mut self, out: &mut String) {
        let start = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        let rest = self.from(start);
        let quoted = rest.split(r"\E").next().unwrap_or_default();
        out.push_str(&regex::escape(quoted));
        let end = start + quoted.len() + if quoted.len() < rest.len() { r"\E".len() } else { 0 };
        while self.chars.next_if(|(at, _)| *at < end).is_some() {}
    }

    /// A class, of which `[` is read already.
    fn class(&mut self, out: &mut String) {
        out.push('[');
        if self.chars.next_if(|(_, c)| *c == '^').is_some() {
            out.push('^');
        }
        let (mut is_first, mut ends_range) = (true, false);
        while let Some((at, c)) = self.chars.next() {
            let is_last = self.chars.peek().is_some_and(|(_, next)| *next == ']');
            let is_range = c == '-' && !is_first && !ends_range && !is_last;
            match c {
                ']' if !is_first => return out.push(']'),
                '\\' => self.escape_in_class(out),
                '[' => match posix(self.from(at)) {
                    Some(name) => {
                        out.push_str(name);
                        while self.chars.next_if(|(next, _)| *next < at + name.len()).is_some() {}
                    }
                    None => out.push_str(r"\["),
                },
                '&' | '~' | ']' => out.extend(['\\', c]),
                '-' if !is_range => out.push_str(r"\-"),
                c => out.push(c),
            }
            (is_first, ends_range) = (false, is_range);
        }
    }

    fn escape_in_class(&mut self, out: &mut String) {
        let Some((_, letter)) = self.chars.next() else { return out.push('\\') };
        match letter {
            'd' | 's' | 'w' => out.push_str(ascii_class(letter).unwrap_or_default()),
            'D' | 'S' | 'W' => {
                let letter = letter.to_ascii_lowercase();
                out.extend(["[^", ascii_class(letter).unwrap_or_default(), "]"]);
            }
            '<' | '>' => out.push(letter),
            letter => out.extend(['\\', letter]),
        }
    }
}

/// The `[:alpha:]` that this begins with.
fn posix(text: &str) -> Option<&str> {
    let name = text.strip_prefix("[:")?;
    let len = name.find(|c: char| !c.is_ascii_lowercase() && c != '^')?;
    name.get(len..)?.starts_with(":]").then(|| text.get(..len + 4)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn it_fits_what_it_fits_in_go() {
        for (expression, fits, does_not_fit) in [
            (r"^\d+$", &["0", "42"][..], &["\u{664}", ""][..]),
            (r"^\w+$", &["a_9"], &["\u{e9}", "a-b"]),
            (r"^\W$", &["\u{e9}", "-"], &["a"]),
            (r"^\s$", &[" ", "\t", "\x0c"], &["\u{a0}", "\x0b"]),
            (r"^[\w.-]+$", &["a.b-c_d"], &["\u{e9}", "a b"]),
            (r"^[^\D]+$", &["12"], &["a", "\u{664}"]),
            (r"^[\W]+$", &["-\u{e9}"], &["a"]),
            (r"^[a&&b]+$", &["a&b"], &["c"]),
            (r"^[~~]$", &["~"], &["a"]),
            (r"^[[a]+$", &["[a"], &["]"]),
            (r"^[[:alpha:]9]+$", &["aZ9"], &["8", ":"]),
            (r"^[[:^digit:]]$", &["a"], &["1"]),
            (r"^[]a]+$", &["]a"], &["["]),
            (r"^[^]a]$", &["b"], &["]", "a"]),
            (r"^[a-c-]+$", &["abc-"], &["d"]),
            (r"^[+--]+$", &["+,-"], &["."]),
            (r"^[--/]+$", &["-./"], &["0"]),
            (r"^[-a]+$", &["-a"], &["b"]),
            (r"^\<b\>$", &["<b>"], &["b"]),
            (r"^\Qa.b\E.$", &["a.bc"], &["axbc"]),
            (r"^\Qa.b", &["a.b"], &["axb"]),
            (r"^a{2,3}b{,2}$", &["aab{,2}"], &["aabb"]),
            (r"^a{x}$", &["a{x}"], &["a"]),
            (r"a\b", &["a\u{e9}", "a b"], &["ab"]),
            (r"^(?i)shop-\d{2}$", &["SHOP-12"], &["shop-1"]),
        ] {
            let regex = Regex::new(&translated(expression)).expect(expression);
            for text in fits {
                assert!(regex.is_match(text), "{expression} {text:?} {}", regex.as_str());
            }
            for text in does_not_fit {
                assert!(!regex.is_match(text), "{expression} {text:?} {}", regex.as_str());
            }
        }
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for expression in ["(", "[a", r"a\", "*", r"(?=x)", r"\y", "[z-a]"] {
            assert!(Regex::new(&translated(expression)).is_err(), "{expression}");
        }
    }

    proptest! {
        /// What has none of the words that differ is left as it is.
        #[test]
        fn the_rest_stays_as_it_is(expression in r"([a-z.*+?|^$()/ é]|\\[.*nt]|\[[a-z]-?[0-9]\]|\{[0-9]\}){0,12}") {
            prop_assert_eq!(translated(&expression), expression);
        }

        #[test]
        fn nothing_breaks_it(expression in r"[\\\[\]{}^&~:Qw-é-]{0,16}") {
            translated(&expression);
        }
    }
}
