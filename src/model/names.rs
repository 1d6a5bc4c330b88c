//! Names as HTTP has them, of header lines, methods, cookies; and whose a header line is, by its name.

/// Whether this can name a header line, a method or a cookie (RFC 9110, section 5.6.2; RFC 6265, section 4.1.1).
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// Whether this can stand in such a name.
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    const TOKEN_BYTES: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");
    TOKEN_BYTES[usize::from(byte)]
}

/// Which bytes are ASCII letters, digits, or one of these.
pub const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let (mut bytes, mut at) = ([false; 256], 0);
    while at < 256 {
        bytes[at] = (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        bytes[others[at] as usize] = true;
        at += 1;
    }
    bytes
}

/// Whether a header line of this name carries what nobody should read, on a page or in a log.
pub fn carries_secrets(name: &str) -> bool {
    const WORDS: [&str; 7] =
        ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Whose a header line is that does not simply go from one end to the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineOwner {
    /// Whoever writes the message: it says where the message goes, where it ends, and how its body comes.
    Message,
    /// The two ends of one connection (RFC 9110, section 7.6.1).
    Connection,
    /// A client and its own proxy. `Proxy` itself is no line of HTTP, but CGI servers make `HTTP_PROXY` of it, and what they call
    /// believes that (CVE-2016-5385).
    Proxy,
    /// Whoever knows the client: it says who that is and what it asked for, and only who is trusted may say so.
    Identity,
}

impl LineOwner {
    /// The lines that belong to somebody, and all that begin with `x-forwarded-`.
    pub const LINES: [(&str, Self); 20] = [
        ("content-length", Self::Message),
        ("expect", Self::Message),
        ("host", Self::Message),
        ("trailer", Self::Message),
        ("transfer-encoding", Self::Message),
        ("connection", Self::Connection),
        ("http2-settings", Self::Connection),
        ("keep-alive", Self::Connection),
        ("proxy-connection", Self::Connection),
        ("te", Self::Connection),
        ("upgrade", Self::Connection),
        ("proxy", Self::Proxy),
        ("proxy-authenticate", Self::Proxy),
        ("proxy-authorization", Self::Proxy),
        ("forwarded", Self::Identity),
        ("true-client-ip", Self::Identity),
        ("x-client-ip", Self::Identity),
        ("x-forwarded-for", Self::Identity),
        ("x-real-ip", Self::Identity),
        ("x-replaced-path", Self::Identity),
    ];

    /// Whose a line of this name is, however it is spelled; none where it is for everybody.
    pub fn of(name: &str) -> Option<Self> {
        const FORWARDED: &[u8] = b"x-forwarded-";
        let name = name.as_bytes();
        let mut lines = Self::LINES.into_iter();
        let line = lines.find(|(known, _)| is_spelling_of(name, known.as_bytes()));
        let is_forwarded =
            || name.get(..FORWARDED.len()).is_some_and(|start| is_spelling_of(start, FORWARDED));
        line.map(|(_, owner)| owner).or_else(|| is_forwarded().then_some(Self::Identity))
    }

    /// Whether nobody but the engine writes lines of this name.
    pub fn is_engine(name: &str) -> bool {
        matches!(Self::of(name), Some(Self::Message | Self::Connection))
    }

    /// Whether lines of this name end at each hop: they say nothing to the next one, or must not.
    pub fn ends_here(name: &str) -> bool {
        Self::is_engine(name) || Self::of(name) == Some(Self::Proxy)
    }
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
    fn some_lines_belong_to_somebody() {
        for (name, owner) in LineOwner::LINES {
            assert_eq!(LineOwner::of(&canonical(name)), Some(owner), "{name}");
        }
        assert_eq!(LineOwner::of("Content_Length"), Some(LineOwner::Message));
        assert_eq!(LineOwner::of("X_Forwarded-Uri"), Some(LineOwner::Identity));
        assert_eq!(LineOwner::of("X-Request-Id"), None);
        assert!(LineOwner::ends_here("Proxy") && !LineOwner::is_engine("Proxy"));
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
