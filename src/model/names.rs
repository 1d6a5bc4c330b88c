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

/// A byte of a name as servers may see it that hand lines on as variables: those that speak CGI or WSGI take an underscore for a
/// hyphen, some gateways whatever is no letter and no digit.
#[inline]
pub fn as_variable(byte: u8) -> u8 {
    // The bit that tells lower case from upper is set in every digit.
    if byte.is_ascii_alphanumeric() { byte | 0x20 } else { b'-' }
}

/// Whether such a server takes one name for the other: `X_Auth-User` for `x-auth-user`.
pub fn is_spelling_of(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(&one, &other)| as_variable(one) == as_variable(other))
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
    fn a_name_has_spellings() {
        for spelling in ["x-auth-user", "X_AUTH_USER", "X.Auth-User"] {
            assert!(is_spelling_of(spelling.as_bytes(), b"X-Auth-User"), "{spelling}");
        }
        for other in ["X-Auth-Users", "XAuthUser", "X-Auth0User", ""] {
            assert!(!is_spelling_of(other.as_bytes(), b"X-Auth-User"), "{other}");
        }
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
