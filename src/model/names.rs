//! Names as HTTP has them: of header lines, methods, cookies.

/// Whether this can name a header line, a method or a cookie (RFC 9110, section 5.6.2; RFC 6265, section 4.1.1).
pub fn is_token(name: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// `user-agent` becomes `User-Agent`: one name, however it is spelled. Go's `http.CanonicalHeaderKey`, by which Traefik 1.7 shows
/// names.
pub fn canonical(name: &str) -> String {
    let mut begins = true;
    let letter = |letter: char| {
        let is_first = std::mem::replace(&mut begins, letter == '-');
        if is_first { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        assert!(["X-Kind", "M-SEARCH", "a_b", "~"].into_iter().all(is_token));
        assert!(!["", "a b", "a:b", "a(b", "a\"", "é"].into_iter().any(is_token));
    }

    #[test]
    fn each_part_of_a_name_begins_with_a_capital() {
        for (name, expected) in [
            ("user-agent", "User-Agent"),
            ("X-KIND", "X-Kind"),
            ("--x", "--X"),
            ("etag", "Etag"),
            ("", ""),
        ] {
            assert_eq!(canonical(name), expected);
        }
    }
}
